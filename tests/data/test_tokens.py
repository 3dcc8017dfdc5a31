"""Tokens on their way through bundle and stream: whole numbers, held out by class or by position."""

import numpy as np
import pytest
import tensorflow as tf

from kerasnn.data.bundle import Bundle, Source, make_bundle
from kerasnn.data.examples import ArrayExamples, TextExamples, TokenExamples
from kerasnn.data.stream import batch_at, evaluation_stream, train_stream
from kerasnn.data.tokenizer import Tokenizer
from kerasnn.errors import DataError

LETTERS = Tokenizer.train(["abcdefghij"], "character", 50)  # Ten letters and five special tokens.


def source(count: int = 100, classes: int | None = 4, shape=(6,), **changes) -> Source:
    """Each example begins with its own number, in digits of base 10: so that splits can be compared by content."""
    tokens = np.zeros((count, *shape), np.int32)
    tokens.reshape(count, -1)[:, :2] = np.stack(np.divmod(np.arange(count), 10), axis=1) + 5
    if classes is None:
        labels = np.where(tokens.reshape(count, -1)[:, : shape[-1]] > 0, 7, -1).astype(np.int32)
    else:
        labels = (np.arange(count) % classes).astype(np.int32)
    names = tuple(f"class{i}" for i in range(classes or 0))
    return Source("toy", TokenExamples(tokens, labels), names, **{"tokenizer": LETTERS} | changes)


def numbers(examples: TokenExamples) -> list[int]:
    digits = examples.tokens.reshape(len(examples), -1)[:, :2] - 5
    return (digits[:, 0] * 10 + digits[:, 1]).tolist()


def everyone(bundle: Bundle) -> list[int]:
    return sorted(number for examples in bundle.splits.values() for number in numbers(examples))


def test_bundle_of_classes_knows_what_models_need():
    bundle = make_bundle(source())
    assert (bundle.kind, bundle.input_shape, bundle.num_classes, bundle.vocab_size) == ("tokens", (6,), 4, 15)
    assert (bundle.mean, bundle.deviation) == ((), ())
    assert bundle.tokenizer is LETTERS
    # A fifth for the test, then a tenth of the remaining 80 for validation, and a quarter of each is of each class.
    assert [len(examples) for examples in bundle.splits.values()] == [72, 8, 20]
    assert np.bincount(bundle.test.labels).tolist() == [5, 5, 5, 5]
    assert everyone(bundle) == list(range(100))


def test_bundle_of_pictures_has_no_vocabulary():
    images = ArrayExamples(np.zeros((40, 4, 4, 1), np.uint8), np.arange(40, dtype=np.int32) % 2)
    bundle = make_bundle(Source("toy", images, ("a", "b")))
    assert (bundle.kind, bundle.vocab_size, bundle.tokenizer, bundle.num_classes) == ("pictures", None, None, 2)


@pytest.mark.parametrize("shape", [(6,), (2, 6)])
def test_bundle_with_a_label_for_each_position_predicts_the_vocabulary(shape):
    bundle = make_bundle(source(classes=None, shape=shape))
    assert (bundle.input_shape, bundle.num_classes, bundle.class_names) == (shape, 15, ())
    assert bundle.train.labels.shape == (72, 6)
    assert [len(examples) for examples in bundle.splits.values()] == [72, 8, 20]
    assert everyone(bundle) == list(range(100))


def test_bundle_holds_out_the_same_positions_every_time():
    first, second = (make_bundle(source(classes=None)) for _ in range(2))
    assert first.hashes == second.hashes
    assert len(set(first.hashes.values())) == 3
    assert numbers(first.test) != list(range(80, 100))  # Drawn, not the last ones.
    whole, part = first, make_bundle(source(classes=None), train_examples=30)
    assert len(part.train) == 30
    assert set(numbers(part.train)) < set(numbers(whole.train))
    assert {part.hashes[name] == whole.hashes[name] for name in ("validation", "test")} == {True}


def test_bundle_hash_follows_tokens_and_labels():
    base = make_bundle(source(classes=None)).train
    for what in ("tokens", "labels"):
        changed = TokenExamples(base.tokens.copy(), base.labels.copy())
        getattr(changed, what)[3, 2] += 1
        assert changed.digest != base.digest
    assert TokenExamples(base.tokens, base.labels).digest == base.digest
    twice = TokenExamples(base.tokens.reshape(-1, 2, 3), base.labels)
    assert twice.digest != base.digest  # The same numbers in another shape are other examples.


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({}, {"image_size": 32}, r"^data\.image_size=32 does not apply to data=toy: its examples are tokens"),
        ({}, {"resize": "pad"}, r"^data\.resize=pad does not apply to data=toy"),
        ({"tokenizer": None}, {}, "toy has tokens and no tokenizer"),
        ({"classes": 1}, {}, "toy has 1 class, a classifier needs at least 2"),
        ({}, {"train_examples": 73}, r"data\.train_examples=73 is more than the 72"),
        ({"classes": None}, {"train_examples": 73}, r"data\.train_examples=73 is more than the 72"),
        ({"classes": None}, {"validation_fraction": 0.0}, "no example left for validation: add some, or raise"),
        ({"tokenizer": Tokenizer.train(["ab"], "character", 7)}, {}, r"has tokens 0\.\.14 in train, .* knows 7"),
        ({"test": source(shape=(7,)).train}, {}, r"sequences of \(7,\) in test and of \(6,\) in train"),
    ],
)
def test_bundle_says_in_one_line_what_does_not_fit(changes, arguments, message):
    with pytest.raises(DataError, match=message) as caught:
        make_bundle(source(**changes), **arguments)
    assert "\n" not in str(caught.value)


def test_bundle_refuses_labels_that_are_no_tokens():
    toy = source(classes=None)
    toy.train.labels[5, 1] = 15
    with pytest.raises(DataError, match=r"has labels -1\.\.15 in train, but its tokenizer knows 15: .* -1\.\.14"):
        make_bundle(toy)


def test_texts_are_encoded_by_what_is_left_to_train_on():
    seen = []

    def encode(splits):
        seen.append({name: examples.texts for name, examples in splits.items()})
        return {name: TokenExamples(np.full((len(e), 3), 5, np.int32), e.labels) for name, e in splits.items()}, LETTERS

    texts = TextExamples(tuple(map(str, range(100))), np.arange(100, dtype=np.int32) % 2)
    bundle = make_bundle(Source("toy", texts, ("a", "b"), encode=encode), train_examples=10)
    assert [len(examples) for examples in bundle.splits.values()] == [10, 8, 20]
    assert [len(examples) for examples in seen[0].values()] == [10, 8, 20]
    assert len(set().union(*seen[0].values())) == 38
    assert bundle.vocab_size == 15


# The stream.


def batches(stream):
    return [(tokens.numpy(), labels.numpy()) for tokens, labels in stream]


def assert_equal(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def masked(tokens, labels, seed, epoch):
    """A stand-in for an augmentation of tokens: some become [MASK]."""
    return tf.where(tf.random.stateless_uniform(tf.shape(tokens), seed) < 0.3, 4, tokens), labels


@pytest.fixture(params=[(4, (6,)), (None, (6,)), (None, (2, 6))], ids=["classes", "positions", "pairs"])
def bundle(request) -> Bundle:
    return make_bundle(source(classes=request.param[0], shape=request.param[1]))


def test_stream_gives_tokens_as_they_are(bundle):
    stream = train_stream(bundle, seed=0, batch_size=9, epochs=1)
    labels = (9,) if bundle.num_classes == 4 else (9, 6)
    assert stream.element_spec == (tf.TensorSpec((9, *bundle.input_shape), tf.int32), tf.TensorSpec(labels, tf.int32))
    rows = {
        tokens.tobytes() + label.tobytes()
        for tokens, label in zip(bundle.train.tokens, bundle.train.labels, strict=True)
    }
    seen = [t.tobytes() + label.tobytes() for part in batches(stream) for t, label in zip(*part, strict=True)]
    assert len(seen) == 72
    assert set(seen) == rows


@pytest.mark.parametrize("augment", [None, masked], ids=["plain", "augmented"])
@pytest.mark.parametrize("cache_bytes", [2**31, 0], ids=["held", "read"])
def test_stream_of_tokens_is_a_function_of_seed_epoch_and_step(bundle, augment, cache_bytes):
    # 72 examples make 6 full batches of 11, so the batch of epoch 2, step 3 is the sixteenth.
    common = {"seed": 5, "batch_size": 11, "augment": augment}
    whole = batches(train_stream(bundle, epochs=3, cache_bytes=cache_bytes, **common))
    later = batches(train_stream(bundle, epochs=3, first_epoch=2, cache_bytes=cache_bytes, **common))
    assert len(whole) == 18
    assert_equal(whole[12:], later)
    assert_equal([whole[15]], [[part.numpy() for part in batch_at(bundle, epoch=2, step=3, **common)]])
    assert not np.array_equal(whole[0][0], whole[6][0])


def test_stream_of_tokens_applies_what_augments_them(bundle):
    plain = batches(train_stream(bundle, seed=1, batch_size=24, epochs=1))
    augmented = batches(train_stream(bundle, seed=1, batch_size=24, epochs=1, augment=masked))
    for (tokens, labels), (changed, same) in zip(plain, augmented, strict=True):
        np.testing.assert_array_equal(labels, same)
        assert ((changed == tokens) | (changed == 4)).all()
        assert (changed == 4).any()


def test_evaluation_stream_of_tokens_keeps_their_order(bundle):
    stream = evaluation_stream(bundle.test, bundle, batch_size=8)
    tokens, labels = zip(*batches(stream), strict=True)
    assert [len(part) for part in labels] == [8, 8, 4]
    np.testing.assert_array_equal(np.concatenate(tokens), bundle.test.tokens)
    np.testing.assert_array_equal(np.concatenate(labels), bundle.test.labels)
