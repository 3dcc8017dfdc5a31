"""A preset of KerasHub's as the start of a training: its words, its weights, what it expects, and what it is not."""

import builtins
import json
import warnings

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose

from kerasnn.config.compose import compose
from kerasnn.data.bundle import make_bundle
from kerasnn.data.sequences import sequences
from kerasnn.data.synthetic import synthetic
from kerasnn.data.text import text
from kerasnn.data.text_lm import text_lm
from kerasnn.data.tokenizer import SEP, SPECIAL, Tokenizer
from kerasnn.errors import ConfigError, DataError, ModelError
from kerasnn.models.bert import bert
from kerasnn.models.gpt import gpt
from kerasnn.models.vit import vit
from kerasnn.tracking.tracker import MemoryTracker
from kerasnn.training.hub import Preset
from kerasnn.training.run import run
from kerasnn.training.sources import open_start, with_tokenizer_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # What it says on import is not about us.
    hub = pytest.importorskip("keras_hub", reason="needs the extra `hub`")

SIZES = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 32, "max_sequence_length": 14}
OURS = {"depth": 2, "num_heads": 2, "width": 8}
TINY = ["model.depth=2", "model.num_heads=2", "model.width=8"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
PIECES = ["film", "good", "bad", "[CLS]", "##m", ".", *LETTERS, "[MASK]", "[PAD]", "é", "[SEP]", "[UNK]"]
PIECES += [f"##{letter}" for letter in LETTERS if letter != "m"]
REVIEWS = {"train": ["a good film", "bad films", "Bad. BAD."] * 8, "test": ["A good, slow film", "ébène", "bad 日本"]}
NOVEL = "the cat sat on the mat.\n\nthe dog, it's said, sat on 1234 logs.\n" * 20


def randomised(model):
    """Every weight drawn, so that none is met by chance."""
    rng = np.random.default_rng(0)
    model.set_weights([0.5 * rng.normal(size=weight.shape) for weight in model.weights])
    return model


@pytest.fixture(scope="module")
def bert_preset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    backbone = randomised(hub.models.BertBackbone(vocabulary_size=len(PIECES), **SIZES))
    backbone.save_to_preset(str(folder))
    tokenizer = hub.models.BertTokenizer(vocabulary=PIECES, lowercase=True)
    tokenizer.save_to_preset(str(folder))
    return folder, backbone, tokenizer


@pytest.fixture(scope="module")
def gpt_preset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt")
    model = json.loads(Tokenizer.train([NOVEL], "byte_pair", 280).to_json())["model"]
    vocabulary = {token: number - 5 for token, number in model["vocab"].items() if number >= 5}
    vocabulary["<|endoftext|>"] = len(vocabulary)
    merges = [" ".join(pair) for pair in model["merges"]]
    tokenizer = hub.models.GPT2Tokenizer(vocabulary=vocabulary, merges=merges)
    backbone = randomised(hub.models.GPT2Backbone(vocabulary_size=len(vocabulary), **SIZES))
    table, (_, beta) = backbone.token_embedding, backbone.layer_norm.get_weights()
    table.set_weights([table.get_weights()[0] - 9 * beta])  # Logits far below 0, as GPT-2's are.
    backbone.save_to_preset(str(folder))
    tokenizer.save_to_preset(str(folder))
    return folder, backbone, tokenizer


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reviews")
    rows = [f"{i % 2}\t{review}\t{split}" for split, texts in REVIEWS.items() for i, review in enumerate(texts)]
    (folder / "reviews.tsv").write_text("\n".join(["label\ttext\tsplit", *rows]) + "\n", encoding="utf-8")
    return folder


def started(named, source, build):
    """The bundle, and the network with its weights, as a training has them before its first step."""
    bundle = make_bundle(with_tokenizer_of(named, source))
    network = build(bundle)
    start = open_start(named, network.name)
    bundle = start.apply(bundle)
    report = start.load(network, bundle.class_names)
    start.check(bundle, bundle.train.tokens[:4])
    return bundle, network, report


def test_bert_answers_to_a_text_as_keras_hub_does(bert_preset, reviews):
    folder, backbone, tokenizer = bert_preset
    bundle, ours, report = started(
        f"hub:{folder}",
        text(str(reviews), sequence_length=12),
        lambda bundle: bert("bert", (12,), bundle.vocab_size, head="none", hidden_dim=32, dropout=0.0, **OURS),
    )
    assert bundle.vocab_size == len(PIECES)
    assert (report.skipped, report.missing) == ({}, ())
    packer = hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=12)
    inputs = packer(REVIEWS["test"])
    # Other numbers, the same words.
    assert not np.array_equal(bundle.test.tokens, inputs["token_ids"])
    expected = backbone.predict_on_batch(inputs)["pooled_output"]
    assert_allclose(ours.predict_on_batch(bundle.test.tokens), expected, rtol=1e-5, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.02  # Other texts, other answers: agreement says something.


def test_gpt_continues_a_text_as_keras_hub_does(gpt_preset, tmp_path):
    folder, backbone, tokenizer = gpt_preset
    (tmp_path / "novel.txt").write_text(NOVEL, encoding="utf-8")
    bundle, ours, report = started(
        f"hub:{folder}",
        text_lm(str(tmp_path / "novel.txt"), sequence_length=14),
        lambda bundle: gpt("gpt", (14,), bundle.vocab_size, dropout=0.0, **OURS),
    )
    assert (report.skipped, report.missing) == ({}, ())
    assert bundle.vocab_size == tokenizer.vocabulary_size() + 4  # Of ours it has the end of a text alone.
    rows = Preset(f"hub:{folder}", str(folder)).words.rows
    known = np.array([row is not None for row in rows])
    assert rows[SEP] == tokenizer.end_token_id
    tokens = bundle.test.tokens[:3]
    theirs = np.array([[rows[number] for number in window] for window in tokens])
    assert tokenizer.detokenize(theirs.tolist())[0] == bundle.tokenizer.decode(tokens[0])
    lm = hub.models.GPT2CausalLM(backbone)
    expected = lm.predict_on_batch({"token_ids": theirs, "padding_mask": np.ones_like(theirs)})
    answer = ours.predict_on_batch(tokens)
    order = [row for row in rows if row is not None]
    assert_allclose(answer[..., known], expected[..., order], rtol=1e-5, atol=1e-5)
    # Four words that it never had: with the mean of all vectors, by Jensen's inequality, they together have at most
    # 4 / V of the chance that all V words of its own have. Vectors of zeros would have logits of 0.
    chances = np.exp(answer - answer.max(axis=-1, keepdims=True))
    own = chances[..., known].sum(axis=-1)
    assert (chances[..., ~known].sum(axis=-1) <= 4 / known.sum() * own * (1 + 1e-5)).all()
    assert (answer[..., known].max(axis=-1) < -1).any()  # Where logits of 0 would have taken more than all others.


def test_vit_sees_a_picture_as_keras_hub_does(tmp_path):
    sizes = {"patch_size": 4, "num_layers": 2, "num_heads": 3, "hidden_dim": 12, "mlp_dim": 48}
    backbone = randomised(hub.models.ViTBackbone(image_shape=(8, 8, 3), **sizes))
    backbone.save_to_preset(str(tmp_path))
    converter = hub.layers.ViTImageConverter(image_size=(8, 8), scale=[0.01, 0.02, 0.03], offset=[-1.0, -0.5, 0.25])
    converter.save_to_preset(str(tmp_path))
    ours = vit("vit_tiny", (8, 8, 3), 10, patch_size=4, depth=2, width=12, num_heads=3)
    start = open_start(f"hub:{tmp_path}", "vit_tiny")
    bundle = start.apply(make_bundle(synthetic(examples=40, channels=3), image_size=8))
    report = start.load(ours, bundle.class_names)
    assert report.missing == ("predictions",)
    pictures = bundle.test.images[:3, :8, :8]  # Bytes; of the size that the network sees.
    standardised = (pictures / 255 - bundle.mean) / np.array(bundle.deviation)
    features = keras.Model(ours.input, ours.get_layer("norm").output).predict_on_batch(standardised.astype("float32"))
    expected = backbone.predict_on_batch(np.array(converter(pictures)))
    assert_allclose(features, expected, rtol=1e-4, atol=1e-4)
    assert np.abs(expected[0] - expected[1]).max() > 0.1
    other = vit("vit_tiny", (16, 16, 3), 10, patch_size=4, depth=2, width=12, num_heads=3)
    with pytest.raises(ModelError, match=r"positions is \(17, 12\) in vit_tiny and \(5, 12\) .* data.image_size=8$"):
        start.load(other, bundle.class_names)


def test_training_goes_on_from_a_preset_and_another_from_that(tmp_path, bert_preset, reviews, caplog):
    folder, backbone, _ = bert_preset
    caplog.set_level("INFO")
    recipe = ["model=bert", *TINY, "model.hidden_dim=32", "data=text", f"data.dir={reviews}", "data.sequence_length=12"]
    recipe += ["trainer=finetune", "trainer.epochs=1", "trainer.batch_size=8", "finetune.unfreeze=null"]
    result = run(compose([*recipe, f"from=hub:{folder}"]), MemoryTracker(), tmp_path)
    assert f"tokens by the tokenizer of hub:{folder}, {len(PIECES)} of them" in caplog.text
    # Words, positions, segments, a normalization, two blocks, and the dense layer upon [CLS]; the head is new.
    assert f"from hub:{folder}: 7 layers loaded, predictions new" in caplog.text
    # Eight features and a number for each of two classes; all else is the preset's.
    kept = keras.saving.load_model(tmp_path / "checkpoints" / "best.keras")
    assert result.history["finetune/params_trainable"] == [8 * 2 + 2]
    table = kept.get_layer("token_embedding").get_weights()[0]
    assert np.array_equal(
        table[:5], backbone.token_embedding.get_weights()[0][[PIECES.index(name) for name in SPECIAL]]
    )
    # The run has its words with it, and needs the preset no longer.
    tokenizer = Tokenizer.from_json((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    assert tokenizer.decode(tokenizer.encode("Good FILMS.")) == "good films."
    bundle, again, report = started(
        str(tmp_path),
        text(str(reviews), sequence_length=12),
        lambda bundle: bert("bert", (12,), bundle.vocab_size, hidden_dim=32, **OURS),
    )
    assert bundle.tokenizer.to_json() == tokenizer.to_json()
    assert (report.skipped, report.missing) == ({}, ())
    assert_allclose(again.predict_on_batch(bundle.test.tokens), kept.predict_on_batch(bundle.test.tokens), rtol=1e-5)


def test_preset_whose_words_are_not_known_is_refused(tmp_path, bert_preset, reviews):
    folder, backbone, _ = bert_preset
    backbone.save_to_preset(str(tmp_path / "silent"))
    for named, source in (
        (f"hub:{tmp_path / 'silent'}", text(str(reviews), sequence_length=12)),
        (f"hub:{folder}", sequences(examples=40)),
    ):
        source = with_tokenizer_of(named, source)
        with pytest.raises(ModelError) as caught:
            open_start(named, "bert").apply(make_bundle(source))
        assert ("has no tokenizer" if "silent" in named else "was trained with another tokenizer") in str(caught.value)
        assert "\n" not in str(caught.value)


def refused(preset, network=None):
    """What is said to a preset as the start of a network; the network has changed nothing by then."""
    network = network or bert("bert", (12,), len(PIECES), hidden_dim=32, **OURS)
    before = network.get_weights()
    with pytest.raises((ConfigError, DataError, ModelError)) as caught:
        open_start(f"hub:{preset}", network.name).load(network, ("no", "yes"))
    assert all(map(np.array_equal, before, network.get_weights()))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_preset_that_does_not_fit_is_one_line_with_what_would(bert_preset, gpt_preset):
    fits = "what it fits is model=bert model.depth=2 model.width=8 model.num_heads=2 model.hidden_dim=32, for "
    fits += f"{len(PIECES)} words and data.sequence_length=14 at most"
    for changed in ({"depth": 3}, {"width": 16}, {"num_heads": 4}, {"hidden_dim": 16}):
        assert refused(
            bert_preset[0], bert("bert", (12,), len(PIECES), **{"hidden_dim": 32, **OURS, **changed})
        ).endswith(fits)
    message = refused(bert_preset[0], bert("bert", (15,), len(PIECES), hidden_dim=32, **OURS))
    assert message.startswith("position_embedding is (15, 8) in bert and (14, 8) in bert_backbone")
    message = refused(gpt_preset[0])
    assert message.startswith("bert is not gpt2_backbone: layer '")
    assert "what it fits is model=gpt model.depth=2 model.width=8 model.num_heads=2, for" in message


def test_preset_that_cannot_be_had_is_one_line(tmp_path, monkeypatch):
    message = refused("bert_tiny_en_uncase")
    assert message.startswith(
        "from=hub:bert_tiny_en_uncase: the preset cannot be had (did you mean 'bert_tiny_en_uncased'? known: bert_base_"
    )
    assert "cannot be had" in refused(tmp_path)  # An empty folder.
    other = hub.models.RobertaBackbone(
        vocabulary_size=20, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=8, max_sequence_length=8
    )
    other.save_to_preset(str(tmp_path / "roberta"))
    assert refused(tmp_path / "roberta").endswith(
        "is a RobertaBackbone: known here are BertBackbone, GPT2Backbone, ViTBackbone"
    )
    real = builtins.__import__

    def without(name, *rest):
        if name == "keras_hub":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert refused("bert_tiny_en_uncased") == (
        "from=hub:bert_tiny_en_uncased needs KerasHub: pip install 'kerasnn[hub]'"
    )
