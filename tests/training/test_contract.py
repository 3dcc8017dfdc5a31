"""What weights expect of their inputs: what is refused, what is a warning, and that else nothing is said."""

import numpy as np
import pytest

from kerasnn.data.bundle import Source, make_bundle
from kerasnn.data.examples import ArrayExamples, TokenExamples
from kerasnn.data.masked_words import masked_words
from kerasnn.data.sequences import sequences
from kerasnn.data.stream import batch_at
from kerasnn.data.synthetic import synthetic
from kerasnn.data.text import text
from kerasnn.data.tokenizer import Tokenizer
from kerasnn.errors import DataError, ModelError
from kerasnn.training.contract import Contract, applied, check_batch, fingerprint, warn_of_overlap, warn_of_size


def first_batch(bundle):
    return np.array(batch_at(bundle, seed=0, batch_size=8, epoch=0, step=0)[0])


def contract_of(bundle):
    """What a run on that data writes down."""
    return Contract(
        bundle.mean, bundle.deviation, bundle.input_shape, bundle.class_names, data=bundle.name, origin=bundle.origin
    )


def test_contract_refuses_what_no_preparation_can_mend(caplog):
    grey = make_bundle(synthetic(channels=1))
    with pytest.raises(ModelError, match="run a sees colours, three channels, but data=synthetic has 1: choose other"):
        applied(Contract(mean=(0.5,) * 3, deviation=(0.5,) * 3), "run a", grey)
    with pytest.raises(ModelError, match="run c was trained on tokens, but data=synthetic gives pictures: choose"):
        applied(Contract(tokenizer="f1"), "run c", grey)
    with pytest.raises(ModelError, match="run d was trained on pictures, but data=sequences gives tokens: choose"):
        applied(Contract(mean=(0.5,), deviation=(0.5,)), "run d", make_bundle(sequences(examples=40)))
    assert applied(Contract(), "file b", grey) is grey
    assert "file b does not say how its pictures were made" in caplog.text


def test_contract_knows_a_tokenizer_by_its_fingerprint():
    assert Contract.of({"tokenizer": '{"words": 1}'}) == Contract.of({"tokenizer": fingerprint('{"words": 1}')})
    assert Contract.of({"tokenizer": '{"words": 1}'}) != Contract.of({"tokenizer": '{"words": 2}'})


def test_first_batch_is_what_the_weights_can_have_seen():
    contract = Contract(mean=(0.5,), deviation=(0.25,))
    bundle = applied(contract, "run a", make_bundle(synthetic(channels=1)))
    images = first_batch(bundle)
    check_batch(contract, "run a", bundle, images)
    # Pixels from 0 to 1 become -2 to 2; those of somebody who never divided by 255 do not.
    with pytest.raises(DataError, match=r"gives inputs from .* but run a expects -2 to 2"):
        check_batch(contract, "run a", bundle, images * 255)
    with pytest.raises(DataError, match="synthetic gives inputs from nan"):
        check_batch(contract, "run a", bundle, images * np.nan)
    with pytest.raises(DataError, match=r"gives inputs of \(32, 32, 1\), but the network takes"):
        check_batch(contract, "run a", make_bundle(synthetic(channels=3)), images)


def test_first_batch_is_held_against_the_weights_and_not_against_the_data_itself():
    # The bundle's own deviation, below a half, lets through what (x - 0.5) / 0.5 never gives: more than 1.
    bundle = make_bundle(synthetic(channels=1))
    images = first_batch(bundle)
    check_batch(contract_of(bundle), "run a", bundle, images)
    with pytest.raises(DataError, match="but run a expects -1 to 1"):
        check_batch(Contract(mean=(0.5,), deviation=(0.5,)), "run a", bundle, images)
    with pytest.raises(DataError, match="synthetic gives 1 channels, but run a knows 3"):
        check_batch(Contract(mean=(0.5,) * 3, deviation=(0.5,) * 3), "run a", bundle, images)


def test_first_batch_far_from_what_the_weights_know_is_a_warning(caplog):
    noise = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1))
    labels = np.arange(60, dtype=np.int32) % 2

    def warned(images, mean, deviation):
        caplog.clear()
        source = Source("toy", ArrayExamples(images.astype("uint8"), labels), ("a", "b"))
        contract = Contract(mean=(mean,), deviation=(deviation,))
        bundle = applied(contract, "run a", make_bundle(source))
        check_batch(contract, "run a", bundle, first_batch(bundle))
        return "toy gives inputs with a mean of" in caplog.text

    # All tones alike: a mean of a half and a deviation of 1 / √12 = 0.29.
    assert not warned(noise, 0.5, 0.29)
    # A twentieth as bright has a mean of 0.024: (0.024 - 0.5) / 0.29 = -1.64.
    assert warned(noise // 20, 0.5, 0.29)
    # Somebody who has divided by 255 already leaves zeros and ones, which vary by half a step of 255.
    assert warned(noise // 128, 0.0, 0.29)


def test_size_that_weights_do_not_know_is_a_warning_with_the_remedy(caplog):
    bundle = make_bundle(synthetic(channels=3))
    warn_of_size(Contract(input_shape=bundle.input_shape), "run a", bundle)
    assert not caplog.records
    warn_of_size(Contract(input_shape=(224, 224, 3)), "the published x", bundle)
    height, width, _ = bundle.input_shape
    assert f"of 224×224, and here they are {height}×{width}: data.image_size=224 shows them" in caplog.text


@pytest.fixture
def warned(caplog):
    def check(trained, tested, fractions=(None, None)):
        """Whether weights that were trained on the one bundle may have seen what the other is tested on."""
        caplog.clear()
        theirs, ours = fractions
        warn_of_overlap(contract_of(trained), "run a", trained.hashes, theirs, tested, ours)
        return "run a was trained on this data too" in caplog.text

    return check


def test_same_texts_at_another_length_are_divided_alike(warned):
    def bundle(length, **options):
        texts = np.random.default_rng(0).integers(5, 7, (40, 16)).astype("int32")[:, :length]
        examples = TokenExamples(texts, np.arange(40, dtype=np.int32) % 2)
        tokenizer = Tokenizer.train(["a b"], "character", 60)
        return make_bundle(Source("text", examples, ("a", "b"), origin="here", tokenizer=tokenizer), **options)

    assert not warned(bundle(8), bundle(16), fractions=(0.2, 0.2))
    assert warned(bundle(8), bundle(16, test_fraction=0.4), fractions=(0.2, 0.4))
    assert warned(bundle(8), bundle(8, test_fraction=0.4), fractions=(0.2, 0.4))


def test_other_division_of_the_same_pictures_is_a_warning(warned):
    def bundle(classes="ab", origin="here", **options):
        pictures = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 1)).astype("uint8")
        examples = ArrayExamples(pictures, np.arange(40, dtype=np.int32) % 2)
        return make_bundle(Source("toy", examples, tuple(classes), origin=origin), **options)

    trained = bundle()
    assert not warned(trained, bundle())
    assert not warned(trained, bundle(validation_fraction=0.3, train_examples=10))  # The same test split.
    assert warned(trained, bundle(test_fraction=0.4))
    # Other files of the same kind of source, or other classes of the same files.
    assert not warned(trained, bundle(test_fraction=0.4, origin="there"))
    assert not warned(trained, bundle(classes="cd", test_fraction=0.4))


def test_words_to_fill_in_and_then_their_classes_must_be_divided_alike(warned, tmp_path):
    rows = "".join(f"{'good' if i % 3 else 'bad'}\tfilm number {i}\n" for i in range(40))
    (tmp_path / "reviews.tsv").write_text("label\ttext\n" + rows, encoding="utf-8")
    trained = make_bundle(masked_words(str(tmp_path), sequence_length=8))
    tested = make_bundle(text(str(tmp_path), sequence_length=8), test_fraction=0.4)
    # By the hashes alone all would differ, since the labels do.
    assert not warned(trained, tested, (0.4, 0.4))
    assert warned(trained, tested, (0.2, 0.4))
