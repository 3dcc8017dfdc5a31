"""The one place that shuffles, augments, batches and prefetches.

The batch at (seed, epoch, step) is a pure function of those three numbers. So training may stop and go on at any epoch,
on any number of threads or devices, and two models trained with one seed see the same pictures in the same order.
Tokens go the same way as pictures, as the whole numbers that they are.
"""

import logging
import math
import re
from collections.abc import Callable
from functools import partial

import numpy as np
import tensorflow as tf

from kerasnn.data.bundle import Bundle
from kerasnn.data.decode import load_examples
from kerasnn.data.examples import Examples, TokenExamples
from kerasnn.errors import DataError

log = logging.getLogger(__name__)

CACHE_BYTES = 2 * 1024**3
READERS = 4  # Batches that are decoded at a time where a set is too big to hold; each may use several threads.

ORDER, DRAWS, HIDDEN = range(3)  # Folded into the seed first: order and draws never share a random number.

# Autograph would rewrite every op on its way in and wrap its errors in pages of "in user code".
plain = tf.autograph.experimental.do_not_convert

Augment = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
Reader = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def train_stream(
    bundle: Bundle,
    *,
    seed: int,
    batch_size: int,
    epochs: int,
    first_epoch: int = 0,
    steps_per_epoch: int | None = None,
    augment: Augment | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> tf.data.Dataset:
    """All training batches of the epochs `first_epoch`, …, `epochs - 1`, one after the other.

    Each epoch visits each example at most once, in an order of its own; what does not fill a batch is left out.

    Args:
        bundle: what to train on.
        seed: of order and augmentation, 0 or more.
        batch_size: examples per batch, over all devices.
        epochs: the number of the epoch to stop before, as in `Model.fit`.
        first_epoch: the epoch to begin with, as `initial_epoch` in `Model.fit`.
        steps_per_epoch: a limit of batches per epoch; None takes all that are full.
        augment: `augment(images, labels, seed, epoch) -> images, labels`, such as a `Policy`.
        cache_bytes: a set that takes more, at its final size as uint8, is read batch by batch instead of held.

    Returns:
        (images, labels): float32 `(batch_size, height, width, channels)`, standardised, and int32 `(batch_size,)`; of
        tokens int32 `(batch_size, *bundle.input_shape)`, and labels that may be one for each position. An `augment`
        that mixes labels makes them shares, float32 `(batch_size, classes)`. A bundle that hides tokens hides others in
        each epoch.

    Raises:
        DataError: there are fewer examples than `batch_size`.

    Example:
        >>> stream = train_stream(bundle, seed=0, batch_size=128, epochs=10)
        >>> model.fit(stream, epochs=10, steps_per_epoch=count_steps(len(bundle.train), 128))
    """
    steps = count_steps(len(bundle.train), batch_size, steps_per_epoch)
    examples, key = len(bundle.train), _key(seed)
    read, parallel = _reader(bundle.train, bundle, held=_fits("train", examples, bundle, cache_bytes))

    @plain
    def epoch_plan(epoch: tf.Tensor) -> tf.data.Dataset:
        order = _order(key, epoch, examples)[: steps * batch_size]
        rows = tf.reshape(order, (steps, batch_size))
        return tf.data.Dataset.from_tensor_slices((tf.repeat(epoch, steps), tf.range(steps), rows))

    plan = tf.data.Dataset.range(first_epoch, epochs, output_type=tf.int32).flat_map(epoch_plan)
    make_batch = plain(partial(_train_batch, bundle, read, augment, key))
    batches = plan.map(make_batch, num_parallel_calls=parallel, deterministic=True)
    total = steps * max(0, epochs - first_epoch)
    return _finish(batches.apply(tf.data.experimental.assert_cardinality(total)))


def evaluation_stream(
    examples: Examples, bundle: Bundle, *, batch_size: int, cache_bytes: int = CACHE_BYTES
) -> tf.data.Dataset:
    """Each example once, in order, standardised and not augmented; the last batch may be short.

    Args:
        examples: a split of `bundle`, or others of the same kind.
        bundle: gives the pictures' size and the statistics they are standardised by.
        batch_size: examples per batch, over all devices.
        cache_bytes: a set that takes more is read batch by batch instead of held.

    Returns:
        (images, labels): float32 `(batch, height, width, channels)` and int32 `(batch,)`; tokens as `train_stream`
        gives them.

    Example:
        >>> model.evaluate(evaluation_stream(bundle.test, bundle, batch_size=256))
    """
    name = next((name for name, split in bundle.splits.items() if split is examples), "evaluation")
    count = len(examples)
    read, parallel = _reader(examples, bundle, held=_fits(name, count, bundle, cache_bytes))

    @plain
    def make_batch(start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        inputs, labels = read(tf.range(start, tf.minimum(start + batch_size, count)))
        if bundle.kind == "pictures":
            inputs = standardise(_scale(inputs), bundle.mean, bundle.deviation)
        return inputs, labels

    starts = tf.data.Dataset.range(0, count, batch_size, output_type=tf.int32)
    return _finish(starts.map(make_batch, num_parallel_calls=parallel, deterministic=True))


def batch_at(
    bundle: Bundle, *, seed: int, batch_size: int, epoch: int, step: int, augment: Augment | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """The batch that `train_stream` gives at (seed, epoch, step), reading no other example.

    Args:
        bundle: what to train on.
        seed: of order and augmentation, 0 or more.
        batch_size: examples per batch, over all devices.
        epoch: from 0.
        step: within the epoch, from 0.
        augment: `augment(images, labels, seed, epoch) -> images, labels`, such as a `Policy`.

    Returns:
        (images, labels) as `train_stream` gives them.

    Raises:
        DataError: an epoch has no such step.

    Example:
        >>> images, labels = batch_at(bundle, seed=0, batch_size=128, epoch=3, step=17)
    """
    steps = count_steps(len(bundle.train), batch_size)
    if not 0 <= step < steps:
        raise DataError(f"step {step} does not exist: an epoch of batches of {batch_size} has steps 0 to {steps - 1}")
    with tf.device("/CPU:0"):  # Where the stream computes: a GPU may round otherwise.
        key = _key(seed)
        read, _ = _reader(bundle.train, bundle, held=False)
        order = _order(key, tf.constant(epoch), len(bundle.train))
        indices = order[step * batch_size : (step + 1) * batch_size]
        return _train_batch(bundle, read, augment, key, tf.constant(epoch), tf.constant(step), indices)


def reading_error(error: Exception) -> DataError | None:
    """The DataError behind what TensorFlow raised while a stream was read, such as a file that vanished; or None.

    Example:
        >>> try:
        ...     model.fit(stream)
        ... except tf.errors.OpError as error:
        ...     raise reading_error(error) or error
    """
    found = re.search(rf"{DataError.__name__}: (.+)", str(error))
    return DataError(found[1]) if found else None


def count_steps(examples: int, batch_size: int, limit: int | None = None) -> int:
    """How many full batches an epoch has, at most `limit`.

    Raises:
        DataError: not even one batch is full.

    Example:
        >>> count_steps(1_000, 128)
        7
    """
    if batch_size > examples:
        raise DataError(
            f"a batch of {batch_size} is larger than the {examples:,} training examples; "
            f"give trainer.batch_size={examples} or less"
        )
    steps = examples // batch_size
    return steps if limit is None else min(steps, limit)


def standardise(images: tf.Tensor, mean: tuple[float, ...], deviation: tuple[float, ...]) -> tf.Tensor:
    """Subtract the mean and divide by the deviation, per channel: images in [0, 1] to about [-3, 3], same shape.

    Example:
        >>> standardise(images, bundle.mean, bundle.deviation)
    """
    # One long row per picture: a last axis of 3 is broadcast several times more slowly.
    pixels = math.prod(images.shape[1:3])
    means, deviations = (tf.constant(list(values) * pixels, images.dtype) for values in (mean, deviation))
    rows = tf.reshape(images, (-1, pixels * images.shape[3]))
    standardised = tf.reshape((rows - means) / deviations, tf.shape(images))
    return tf.ensure_shape(standardised, images.shape)


def _train_batch(
    bundle: Bundle,
    read: Reader,
    augment: Augment | None,
    key: tf.Tensor,
    epoch: tf.Tensor,
    step: tf.Tensor,
    indices: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    inputs, labels = read(indices)
    if bundle.kind == "pictures":
        inputs = _scale(inputs)
    if augment is not None:
        inputs, labels = augment(inputs, labels, _fold(key, DRAWS, epoch, step), epoch)
    if bundle.hide is not None:
        inputs, labels = bundle.hide(inputs, labels, _fold(key, HIDDEN, epoch, step), bundle.vocab_size)
    if bundle.kind == "pictures":
        inputs = standardise(inputs, bundle.mean, bundle.deviation)
    return inputs, labels


def _fits(name: str, examples: int, bundle: Bundle, cache_bytes: int) -> bool:
    """Whether a split is held in memory, and a line in the log that says so."""
    size = examples * math.prod(bundle.input_shape) * _dtype(bundle).size
    held = size <= cache_bytes
    form = "×".join(map(str, bundle.input_shape))
    place = "held in memory" if held else f"more than {cache_bytes / 1e9:.3f} GB, so read batch by batch"
    log.log(
        logging.DEBUG if held else logging.INFO,
        "%s: %s %s of %s take %.3f GB: %s",
        name,
        f"{examples:,}",
        bundle.kind,
        form,
        size / 1e9,
        place,
    )
    return held


def _reader(examples: Examples, bundle: Bundle, *, held: bool) -> tuple[Reader, int]:
    """A function of indices to uint8 images, or int32 tokens, and int32 labels; how many calls may run at a time."""
    labels = np.ascontiguousarray(examples.labels, np.int32)
    # On a machine with a GPU a constant would land there, and every batch would be copied back.
    with tf.device("/CPU:0"):
        all_labels = tf.constant(labels)
        if held:
            all_inputs = tf.constant(_load(examples, bundle))
            return lambda indices: (tf.gather(all_inputs, indices), tf.gather(all_labels, indices)), tf.data.AUTOTUNE

    def load(indices: np.ndarray) -> np.ndarray:
        return _load(examples.take(indices), bundle)

    def read(indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # Not stateful: equal indices give equal pictures, so calls may run side by side under op determinism too.
        inputs = tf.numpy_function(load, [indices], _dtype(bundle), stateful=False)
        return tf.ensure_shape(inputs, (indices.shape[0], *bundle.input_shape)), tf.gather(all_labels, indices)

    return read, READERS


def _load(examples: Examples, bundle: Bundle) -> np.ndarray:
    """The pictures at the size that the model takes, uint8; or the tokens, int32."""
    if isinstance(examples, TokenExamples):
        return np.ascontiguousarray(examples.tokens, np.int32)
    return load_examples(examples, bundle.input_shape, bundle.resize)


def _dtype(bundle: Bundle) -> tf.DType:
    return tf.uint8 if bundle.kind == "pictures" else tf.int32


def _key(seed: int) -> tf.Tensor:
    """Both halves of a seed of up to 62 bits, as stateless ops want it."""
    return tf.constant([seed % 2**31, seed // 2**31 % 2**31], tf.int32)


def _fold(key: tf.Tensor, *numbers: int | tf.Tensor) -> tf.Tensor:
    for number in numbers:
        key = tf.random.fold_in(key, tf.cast(number, tf.int32))
    return key


def _order(key: tf.Tensor, epoch: tf.Tensor, examples: int) -> tf.Tensor:
    """The epoch's permutation of all examples."""
    return tf.random.experimental.stateless_shuffle(tf.range(examples), _fold(key, ORDER, epoch))


def _scale(images: tf.Tensor) -> tf.Tensor:
    return tf.cast(images, tf.float32) / 255.0


def _finish(batches: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    return batches.with_options(options).prefetch(tf.data.AUTOTUNE)
