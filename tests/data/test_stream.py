"""The stream's one rule: the batch at (seed, epoch, step) is a function of those three numbers."""

import logging
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kerasnn.augment.affine import Rotation
from kerasnn.augment.image import Flip, Noise
from kerasnn.augment.policy import Policy
from kerasnn.augment.preview import augmented_grid
from kerasnn.data.bundle import ArrayExamples, Bundle, FileExamples
from kerasnn.data.stream import batch_at, count_steps, evaluation_stream, reading_error, standardise, train_stream
from kerasnn.errors import DataError

POLICY = Policy({"flip": Flip(), "turn": Rotation(), "noise": Noise()})


def arrays(count: int, seed: int = 0, shape=(8, 10, 3)) -> ArrayExamples:
    rng = np.random.default_rng(seed)
    # The label numbers the example, so that a batch tells which it holds.
    return ArrayExamples(rng.integers(0, 256, (count, *shape), np.uint8), np.arange(count, dtype=np.int32))


def bundle_of(train, shape=(8, 10, 3), **changes) -> Bundle:
    facts = {
        "name": "toy",
        "train": train,
        "validation": arrays(7, 1, shape),
        "test": arrays(9, 2, shape),
        "class_names": tuple(map(str, range(len(train)))),
        "input_shape": shape,
        "resize": "pad",
        "mean": (0.5, 0.4, 0.3)[: shape[-1]],
        "deviation": (0.2, 0.3, 0.25)[: shape[-1]],
    }
    return Bundle(**facts | changes)


@pytest.fixture
def bundle():
    return bundle_of(arrays(50))


def batches(stream):
    return [(images.numpy(), labels.numpy()) for images, labels in stream]


def assert_equal(first, second):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


@pytest.mark.parametrize("augment", [None, POLICY], ids=["plain", "augmented"])
def test_train_stream_batch_depends_on_seed_epoch_and_step_alone(bundle, augment):
    # 50 examples make 4 full batches of 12, so the batch of epoch 2, step 3 is the last of three epochs.
    common = {"seed": 5, "batch_size": 12, "augment": augment}
    whole = batches(train_stream(bundle, epochs=3, **common))
    later = batches(train_stream(bundle, epochs=3, first_epoch=2, **common))
    assert len(whole) == 12
    assert_equal(whole[8:], later)
    assert_equal([whole[-1]], [[part.numpy() for part in batch_at(bundle, epoch=2, step=3, **common)]])


def test_train_stream_does_not_depend_on_parallelism(bundle):
    stream = train_stream(bundle, seed=1, batch_size=5, epochs=2, augment=POLICY)
    alone = tf.data.Options()
    alone.threading.private_threadpool_size = 1
    alone.threading.max_intra_op_parallelism = 1
    alone.autotune.enabled = False
    many = tf.data.Options()
    many.threading.private_threadpool_size = 8
    assert_equal(batches(stream.with_options(alone)), batches(stream.with_options(many)))


def test_train_stream_visits_each_example_at_most_once_an_epoch(bundle):
    epochs = np.reshape(
        [labels for _, labels in batches(train_stream(bundle, seed=0, batch_size=12, epochs=3))], (3, 48)
    )
    for visited in epochs:
        assert len(set(visited)) == 48
    assert not (epochs[0] == epochs[1]).all()
    assert not (epochs[1] == epochs[2]).all()
    assert not (np.sort(epochs[0]) == epochs[0]).all()


def test_train_stream_shuffles_without_favour():
    # 4 examples, 1,000 epochs: each of the 24 orders comes about 42 times (deviation 6).
    stream = train_stream(bundle_of(arrays(4)), seed=0, batch_size=4, epochs=1_000)
    orders, counts = np.unique([labels for _, labels in batches(stream)], axis=0, return_counts=True)
    assert len(orders) == 24
    assert counts.min() > 12
    assert counts.max() < 72


def test_train_stream_batches_are_full_and_typed(bundle):
    stream = train_stream(bundle, seed=0, batch_size=12, epochs=2, augment=POLICY)
    images, labels = stream.element_spec
    assert images == tf.TensorSpec((12, 8, 10, 3), tf.float32)
    assert labels == tf.TensorSpec((12,), tf.int32)
    assert stream.cardinality() == 8
    assert stream.options().deterministic


def test_train_stream_limit_takes_the_first_steps(bundle):
    whole = batches(train_stream(bundle, seed=0, batch_size=12, epochs=2))
    limited = batches(train_stream(bundle, seed=0, batch_size=12, epochs=2, steps_per_epoch=3))
    assert_equal(limited, whole[:3] + whole[4:7])


def test_train_stream_seeds_give_different_order_and_pixels(bundle):
    def first(seed, augment):
        return batches(train_stream(bundle, seed=seed, batch_size=50, epochs=1, augment=augment))[0]

    assert not (first(0, None)[1] == first(1, None)[1]).all()
    assert not (first(0, None)[1] == first(2**31, None)[1]).all()
    images = [first(seed, POLICY)[0][np.argsort(first(seed, None)[1])] for seed in (0, 1)]
    assert not np.allclose(*images, atol=0.1)


def test_train_stream_augmentation_leaves_the_order_alone(bundle):
    plain = batches(train_stream(bundle, seed=4, batch_size=10, epochs=2))
    augmented = batches(train_stream(bundle, seed=4, batch_size=10, epochs=2, augment=POLICY))
    for (images, labels), (changed, same) in zip(plain, augmented, strict=True):
        np.testing.assert_array_equal(labels, same)
        assert not np.allclose(images, changed, atol=0.1)


def test_train_stream_draws_anew_for_each_batch():
    # One picture over and over: what differs between batches and epochs is the draw alone.
    one = ArrayExamples(np.repeat(arrays(1).images, 20, axis=0), np.arange(20, dtype=np.int32))
    stream = train_stream(bundle_of(one), seed=0, batch_size=5, epochs=2, augment=Policy({"noise": Noise()}))
    drawn = [image.tobytes() for images, _ in batches(stream) for image in images]
    assert len(set(drawn)) == 40


def test_train_stream_standardises_by_the_bundle(bundle):
    images, labels = batches(train_stream(bundle, seed=0, batch_size=50, epochs=1))[0]
    expected = (bundle.train.images[labels] / 255 - bundle.mean) / bundle.deviation
    np.testing.assert_allclose(images, expected, atol=1e-5)


def test_train_stream_batch_larger_than_the_set_names_the_largest(bundle):
    with pytest.raises(
        DataError, match=r"batch of 64 is larger than the 50 .* trainer.batch_size=50 or less"
    ) as raised:
        train_stream(bundle, seed=0, batch_size=64, epochs=1)
    assert "\n" not in str(raised.value)


def test_batch_at_refuses_a_step_that_no_epoch_has(bundle):
    with pytest.raises(DataError, match=r"step 4 does not exist.* steps 0 to 3"):
        batch_at(bundle, seed=0, batch_size=12, epoch=0, step=4)


def test_count_steps_counts_full_batches():
    assert count_steps(1_000, 128) == 7
    assert count_steps(1_000, 128, limit=3) == 3
    assert count_steps(1_000, 128, limit=30) == 7


def test_standardise_is_per_channel():
    images = tf.ones((2, 4, 4, 3))
    result = standardise(images, (0.0, 0.5, 1.0), (1.0, 0.5, 2.0))
    np.testing.assert_allclose(result, np.broadcast_to([1.0, 1.0, 0.0], (2, 4, 4, 3)))


@pytest.mark.parametrize("cache_bytes", [2**31, 0], ids=["held", "read"])
def test_evaluation_stream_gives_each_example_once_in_order(bundle, cache_bytes):
    stream = evaluation_stream(bundle.test, bundle, batch_size=4, cache_bytes=cache_bytes)
    assert stream.cardinality() == 3
    images, labels = zip(*batches(stream), strict=True)
    assert [len(part) for part in labels] == [4, 4, 1]
    np.testing.assert_array_equal(np.concatenate(labels), bundle.test.labels)
    expected = (bundle.test.images / 255 - bundle.mean) / bundle.deviation
    np.testing.assert_allclose(np.concatenate(images), expected, atol=1e-5)


@pytest.fixture(params=[1, 3], ids=["gray", "colour"])
def files(request, tmp_path):
    shape = (8, 10, request.param)
    examples = arrays(30, shape=shape)
    for index, image in enumerate(examples.images):
        Image.fromarray(image.squeeze()).save(tmp_path / f"{index:02}.png")
    paths = tuple(str(path) for path in sorted(tmp_path.iterdir()))
    return bundle_of(FileExamples(paths, examples.labels, request.param), shape)


def test_train_stream_reads_the_same_batches_as_it_would_hold(files, caplog):
    caplog.set_level(logging.DEBUG, "kerasnn.data.stream")
    common = {"seed": 3, "batch_size": 7, "epochs": 2, "augment": POLICY}
    held = batches(train_stream(files, **common))
    read = batches(train_stream(files, cache_bytes=100, **common))
    assert_equal(held, read)
    assert [record.message.split(": ")[2].split(",")[0] for record in caplog.records] == [
        "held in memory",
        "more than 0.000 GB",
    ]


def test_train_stream_reads_no_more_than_a_few_batches(files, monkeypatch):
    taken = []
    take = FileExamples.take

    def counted(examples, indices):
        taken.append(len(indices))
        return take(examples, indices)

    monkeypatch.setattr(FileExamples, "take", counted)
    stream = train_stream(files, seed=0, batch_size=2, epochs=100, cache_bytes=0)
    next(iter(stream))
    # 1,500 batches in all; readers and what is prefetched hold a dozen or two of them.
    assert sum(taken) <= 2 * 50


def test_train_stream_reads_in_the_same_order_each_time(files):
    stream = train_stream(files, seed=0, batch_size=5, epochs=2, cache_bytes=0)
    assert_equal(batches(stream), batches(stream))


def test_reading_error_names_the_file_that_vanished(files):
    stream = train_stream(files, seed=0, batch_size=5, epochs=1, cache_bytes=0)
    Path(files.train.paths[3]).unlink()
    with pytest.raises(tf.errors.OpError) as raised:
        batches(stream)
    error = reading_error(raised.value)
    assert isinstance(error, DataError)
    assert "03.png" in str(error)
    assert "\n" not in str(error)
    assert reading_error(ValueError("something else")) is None


def test_train_stream_feeds_model_fit(bundle):
    model = keras.Sequential([keras.Input((8, 10, 3)), keras.layers.Flatten(), keras.layers.Dense(50)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, jit_compile=False)
    stream = train_stream(bundle, seed=0, batch_size=10, epochs=2, augment=POLICY)
    steps = count_steps(len(bundle.train), 10)
    history = model.fit(stream, epochs=2, steps_per_epoch=steps, shuffle=False, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert np.isfinite(model.evaluate(evaluation_stream(bundle.test, bundle, batch_size=4), verbose=0))


def test_augmented_grid_shows_what_training_sees(bundle):
    images, labels = augmented_grid(bundle, POLICY, seed=2, count=6, batch_size=12)
    assert images.shape == (6, 2, 8, 10, 3)
    assert images.dtype == np.uint8
    assert (labels == labels[:, :1]).all()
    np.testing.assert_array_equal(images[:, 0], bundle.train.images[labels[:, 0]])
    streamed, order = batches(train_stream(bundle, seed=2, batch_size=12, epochs=1, augment=POLICY))[0]
    np.testing.assert_array_equal(labels[:, 1], order[:6])
    shown = (images[:, 1] / 255 - bundle.mean) / bundle.deviation
    np.testing.assert_allclose(shown, streamed[:6], atol=0.5 / 255 / 0.2 + 1e-4)
    assert not np.array_equal(images[:, 0], images[:, 1])


def test_augmented_grid_of_a_small_set_shows_all_of_it():
    images, _ = augmented_grid(bundle_of(arrays(3)), None, seed=0, count=8)
    assert images.shape[0] == 3
    np.testing.assert_array_equal(images[:, 0], images[:, 1])
