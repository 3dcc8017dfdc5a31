"""The one path from config to result for each kind of network and data: auxiliary heads, pre-training, words, sound."""

import json
import re
import wave
from dataclasses import replace

import keras
import numpy as np
import pytest

from kerasnn.analysis.cost import count
from kerasnn.config.compose import compose
from kerasnn.config.recipe import Recipe
from kerasnn.data.tokenizer import Tokenizer
from kerasnn.errors import ConfigError, ModelError
from kerasnn.models.mobilenet import mobilenet_v2
from kerasnn.tracking.tracker import MemoryTracker
from kerasnn.training.run import run

PICTURES = ["data=synthetic", "data.examples=200", "data.train_examples=96", "data.channels=3", "data.image_size=32"]
SHORT = ["trainer.batch_size=16", "trainer.epochs=2"]
TINY = ["model.depth=1", "model.width=16", "model.num_heads=2", "model.dropout=0"]


def result_of(folder, *overrides):
    """The result and the record of a run in `folder`."""
    folder.mkdir(exist_ok=True)
    tracker = MemoryTracker()
    return run(compose(overrides), tracker, folder), tracker


@pytest.fixture
def reviews(tmp_path):
    """Forty texts whose class is their first word."""
    rows = [f"{i % 2}\t{('bad', 'good')[i % 2]} film number {i}" for i in range(40)]
    (tmp_path / "reviews.tsv").write_text("label\tsentence\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def novel(tmp_path):
    """A text that says the same over and over."""
    (tmp_path / "novel.txt").write_text("the cat sat on the mat.\n" * 200, encoding="utf-8")
    return tmp_path


def test_auxiliary_heads_train_on_two_replicas_and_are_not_kept(tmp_path):
    strategy = ["strategy=mirrored", "strategy.devices=2", "data.image_size=17", "trainer.epochs=1"]
    result, tracker = result_of(
        tmp_path, "model=googlenet", "model.width_multiplier=0.0625", *PICTURES, *SHORT, *strategy
    )
    kept = keras.saving.load_model(tmp_path / "checkpoints" / "best.keras")
    assert not [layer.name for layer in kept.layers if "auxiliary" in layer.name]
    # What is counted, tested and handed on is the network without them.
    assert result.metrics["cost/params_trainable"] == count(kept).params_trainable
    assert tracker.models[0]["output_example"].shape == (2, 10)
    # Two more losses, 0.3 each, of about log 10: a training step's loss stands well above the validation's.
    assert result.history["train/loss"][0] > 1.3 * result.history["val/loss"][0]


def test_pretraining_is_a_phase_of_its_own_and_joins_the_history(tmp_path):
    pretraining = ["model=dbn", "model.hidden_widths=[12,8]", "model.pretrain.epochs=3"]
    result, tracker = result_of(tmp_path, *pretraining, *PICTURES, *SHORT)
    errors = result.history["pretrain/rbm1/reconstruction_error"]
    assert len(errors) == 3
    assert errors[-1] < errors[0]
    assert len(result.history["train/loss"]) == 2
    assert result.metrics["cost/pretrain_seconds"] > 0
    assert [step for step, _ in tracker.history["pretrain/rbm2/reconstruction_error"]] == [1, 2, 3]


def test_texts_are_classified(tmp_path, reviews):
    recipe = ["optimizer.learning_rate=0.01", "trainer.epochs=15", "trainer.batch_size=8", "data.sequence_length=12"]
    result, tracker = result_of(tmp_path / "run", "model=bert", *TINY, "data=text", f"data.dir={reviews}", *recipe)
    assert result.history["train/loss"][-1] < 0.5 * result.history["train/loss"][0]
    shown = (tmp_path / "run" / "inputs.txt").read_text(encoding="utf-8").splitlines()
    assert shown[0].split(": ")[1].startswith({"0": "bad film", "1": "good film"}[shown[0][0]])
    assert tracker.datasets[0]["input_dtype"] == "int32"
    assert tracker.datasets[0]["label_shape"] == ()
    assert "tokenizer" in tracker.models[0]["metadata"]
    tokenizer = Tokenizer.from_json((tmp_path / "run" / "tokenizer.json").read_text(encoding="utf-8"))
    assert tokenizer.decode(tracker.models[0]["input_example"][0]) in {line.split(": ")[1] for line in shown}


def test_a_network_of_the_next_token_learns_and_writes(tmp_path, novel):
    recipe = ["optimizer.learning_rate=0.01", "data.sequence_length=16", "trainer.batch_size=16", "trainer.epochs=20"]
    result, tracker = result_of(tmp_path / "run", "model=gpt", *TINY, "data=text_lm", f"data.dir={novel}", *recipe)
    # The text's letters are nearly all given by those before them.
    assert result.metrics["test/accuracy"] > 0.8
    assert result.metrics["test/perplexity"] == pytest.approx(np.exp(result.metrics["test/loss"]), rel=1e-5)
    assert "cat" in (tmp_path / "run" / "samples.txt").read_text(encoding="utf-8")
    assert tracker.datasets[0]["label_shape"] == (16,)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A run that learned to fill gaps in a text that says nearly the same over and over: its folder and its result."""
    folder = tmp_path_factory.mktemp("filled")
    lines = [f"the {('cat', 'dog')[i % 2]} sat on the {('mat', 'log')[i % 2]} ." for i in range(400)]
    (folder / "lines.txt").write_text("\n".join(lines), encoding="utf-8")
    recipe = ["optimizer.learning_rate=0.01", "data.sequence_length=12", "trainer.batch_size=30", "trainer.epochs=15"]
    data = ["data=masked_words", f"data.dir={folder / 'lines.txt'}"]
    result, _ = result_of(folder / "run", "model=bert", "model.head=masked_words", *TINY, *data, *recipe)
    return folder, result


def test_an_encoder_learns_to_fill_gaps_and_shows_some(filled):
    folder, result = filled
    # The animal tells the place and the place the animal; the rest is always the same.
    assert result.metrics["test/accuracy"] > 0.8
    assert result.metrics["test/perplexity"] < 3
    shown = (folder / "run" / "samples.txt").read_text(encoding="utf-8").splitlines()
    assert len(shown) == 16
    assert all(re.search(r"\[\S+ → \S+\]", line) for line in shown)
    # What it was trained on has gaps too, without answers.
    inputs = (folder / "run" / "inputs.txt").read_text(encoding="utf-8").splitlines()
    assert all(re.search(r"\[\S+\]", line) and "→" not in line for line in inputs)


@pytest.mark.parametrize("further", [[], ["finetune.lora_rank=2"]], ids=["whole", "lora"])
def test_words_that_were_filled_in_help_to_classify(tmp_path, filled, reviews, further):
    folder, _ = filled
    text = ["data=text", f"data.dir={reviews}", "data.sequence_length=12", "model=bert", "model.head=classes", *TINY]
    start = ["trainer=finetune", f"from={folder / 'run'}", "trainer.epochs=2", "finetune.head_epochs=1", *SHORT]
    result, _ = result_of(tmp_path / "run", *text, *start, *further)
    # The words are those of the run that it starts from, whatever these texts would have taught.
    ours, theirs = (
        json.loads((place / "result.json").read_text())["facts"] for place in (tmp_path / "run", folder / "run")
    )
    assert ours["tokenizer"] == theirs["tokenizer"]
    assert (tmp_path / "run" / "tokenizer.json").read_text() == (folder / "run" / "tokenizer.json").read_text()
    # Nothing but the head's two layers is new: a dense layer of 16·16 + 16 and one of 16·2 + 2 learn first.
    assert result.history["finetune/params_trainable"][0] == 272 + 34
    kept = keras.saving.load_model(tmp_path / "run" / "checkpoints" / "best.keras")
    assert (
        kept.get_layer("token_embedding").weights[0].shape[0]
        == Tokenizer.from_json((folder / "run" / "tokenizer.json").read_text()).vocab_size
    )


def test_a_network_that_looks_back_may_not_fill_gaps(tmp_path, filled):
    data = ["data=masked_words", f"data.dir={filled[0] / 'lines.txt'}", "data.sequence_length=12"]
    with pytest.raises(
        ModelError, match="gpt only looks back, but data=masked_words asks for words from .* both sides"
    ):
        result_of(tmp_path / "gpt", "model=gpt", *TINY, *data, *SHORT)
    with pytest.raises(ModelError, match=r"a network that fills gaps, such as model=bert model\.head=masked_words"):
        result_of(tmp_path / "bert", "model=bert", *TINY, *data, *SHORT)


def test_an_encoder_with_a_decoder_answers_sources(tmp_path):
    task = ["data=sequences", "data.digits=3", "data.examples=80"]
    result, _ = result_of(tmp_path, "model=transformer_small", *TINY, *task, *SHORT)
    assert 0 <= result.metrics["test/accuracy"] <= 1
    lines = (tmp_path / "samples.txt").read_text(encoding="utf-8").splitlines()
    assert lines
    assert all("→" in line and ("right" in line or "expected" in line) for line in lines)


def test_sounds_are_told_apart(tmp_path):
    (tmp_path / "sounds").mkdir()
    for index in range(40):
        pitch = (300, 1500)[index % 2]
        tone = 12_000 * np.sin(2 * np.pi * pitch * np.arange(4_000) / 8_000 + index)
        with wave.open(str(tmp_path / "sounds" / f"{('low', 'high')[index % 2]}_{index}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8_000)
            file.writeframes(tone.astype("<i2").tobytes())
    data = ["data=audio", f"data.dir={tmp_path / 'sounds'}", "data.pattern='{label}_{index}'", "data.seconds=0.5"]
    result, _ = result_of(tmp_path / "run", "model=mlp", "model.hidden_widths=[8]", *data, *SHORT, "trainer.epochs=5")
    assert result.metrics["test/accuracy"] == 1.0


def test_published_weights_bring_their_standardisation(tmp_path):
    options = {"alpha": 0.35, "input_shape": (224, 224, 3)}
    keras.applications.MobileNetV2(weights=None, include_top=False, **options).save(tmp_path / "theirs.h5")
    weights = ["model=mobilenet_v2", "model.width_multiplier=0.35", f"model.weights={tmp_path / 'theirs.h5'}"]
    result, tracker = result_of(tmp_path / "run", *weights, *PICTURES, *SHORT, "trainer.epochs=1")
    assert tracker.models[0]["metadata"]["mean"] == [0.5, 0.5, 0.5]
    ours = mobilenet_v2((32, 32, 3), 10, width_multiplier=0.35)
    assert result.metrics["cost/params_trainable"] == count(ours).params_trainable


@pytest.mark.parametrize(
    ("overrides", "error", "line"),
    [
        (["model=mlp", "data=text"], ModelError, "mlp takes pictures, but data=text gives tokens"),
        (["model=gpt", *TINY], ModelError, r"gpt: the input is \(32, 32, 1\)"),
        (["model=gpt", *TINY, "data=text"], ModelError, r"gpt answers \(12, \d+\) to each example, .* needs \(2,\)"),
        (
            ["model=bert", *TINY, "data=text", "augment=flip"],
            ConfigError,
            "augment=flip is for pictures, but data=text",
        ),
    ],
)
def test_parts_that_do_not_fit_are_named_in_one_line(tmp_path, reviews, overrides, error, line):
    data = [f"data.dir={reviews}", "data.sequence_length=12"] if "data=text" in overrides else []
    with pytest.raises(error, match=line):
        result_of(tmp_path / "run", *overrides, *data, *SHORT)


@pytest.mark.parametrize(
    ("overrides", "error", "line"),
    [
        (
            ["model=bert", "model.head=masked_words"],
            ModelError,
            "bert sees the tokens that it is to tell: data=text_lm",
        ),
        (["model=gpt", "trainer.loss=perceptron"], ConfigError, "trainer.loss=perceptron is for one label per example"),
    ],
)
def test_a_language_model_may_not_look_ahead_nor_train_by_another_loss(tmp_path, novel, overrides, error, line):
    with pytest.raises(error, match=line):
        result_of(
            tmp_path / "run", *overrides, *TINY, "data=text_lm", f"data.dir={novel}", "data.sequence_length=16", *SHORT
        )


def test_a_network_without_a_graph_is_refused_in_one_line(tmp_path):
    class Opaque(keras.Model):
        pass

    class Builds(Recipe):
        def __call__(self, **supplied):
            return Opaque(name="opaque")

    config = replace(compose(["model=mlp", *PICTURES, *SHORT]), model=Builds("rude.make"))
    with pytest.raises(ModelError, match="opaque is no functional network"):
        run(config, MemoryTracker(), tmp_path)
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "FAILED"
