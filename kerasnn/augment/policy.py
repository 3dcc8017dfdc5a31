"""Several ops, one after the other, as one function of images, labels, a seed and the epoch."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from zlib import crc32

import tensorflow as tf

from kerasnn.augment.affine import Affine
from kerasnn.augment.mix import Batch, Mix
from kerasnn.augment.warp import warp
from kerasnn.data.bundle import Bundle
from kerasnn.errors import ConfigError

Op = Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | Mix

ROUNDING = 1e-4  # What sums and products may add to an end of [0, 1].


@dataclass(frozen=True, eq=False)
class Policy:
    """Apply ops in their order, each with a seed of its own.

    An op's seed is folded from its name: adding or removing another op leaves its draws as they were.
    Neighbouring affine ops with the same fill are merged into one resampling. Where an op mixes pictures, labels become
    shares of classes in every epoch, also in the last ones, which no op mixes.

    Outside of a graph, as for the pictures that a run shows before its first step, each op's result is checked.

    Args:
        ops: name to op, as composed from `augment=`; empty changes nothing.
        num_classes: of the labels; only ops that mix need it.
        epochs: of the training; only ops that mix need it, to stop in time.

    Shapes: images `(batch, height, width, channels)`, in and out; labels `(batch,)`, and out of a policy that mixes
    float32 `(batch, num_classes)`.

    Raises:
        ConfigError: in a call outside of a graph: an op's result is no picture, or labels do not sum to 1.

    Example:
        >>> policy = Policy({"flip": Flip(), "noise": Noise(0.1)})
        >>> images, labels = policy(images, labels, seed=tf.constant([0, 1]))
    """

    ops: Mapping[str, Op] = field(default_factory=dict)
    num_classes: int | None = None
    epochs: int = 1

    @property
    def mixes(self) -> bool:
        """Whether labels become shares."""
        return any(isinstance(op, Mix) for op in self.ops.values())

    def __call__(
        self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, epoch: tf.Tensor | int = 0
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Augment a batch: float32 images in [0, 1], int32 labels, int32 seed of shape (2,), the epoch from 0."""
        labels = self.plain_labels(labels)
        for kind, group in groupby(self.ops.items(), key=_kind):
            seeded = {name: (op, tf.random.fold_in(seed, _number(name))) for name, op in group}
            before = images
            if isinstance(kind, str):
                matrices = [op.matrix(tf.shape(images), own) for op, own in seeded.values()]
                images = warp(images, _product(matrices), kind)
            else:
                ((op, own),) = seeded.values()
                if isinstance(op, Mix):
                    images, labels = self._mix(op, images, labels, own, epoch)
                else:
                    images = op(images, own)
            if tf.executing_eagerly():
                _check("+".join(seeded), before, images)
                if self.mixes:
                    _check_shares("+".join(seeded), labels)
        return images, labels

    def plain_labels(self, labels: tf.Tensor) -> tf.Tensor:
        """The labels of pictures that nothing was done to, in the form in which this policy returns labels."""
        if not self.mixes:
            return labels
        if not self.num_classes:
            raise ConfigError("an op that mixes labels needs to know of how many classes: Policy(ops, num_classes=10)")
        return tf.one_hot(labels, self.num_classes)

    def _mix(self, op: Mix, images: tf.Tensor, shares: tf.Tensor, seed: tf.Tensor, epoch: tf.Tensor | int) -> Batch:
        mixed_epochs = math.ceil(op.until * self.epochs - 1e-9)  # 0.55 · 20 is 11, not a little more.
        if mixed_epochs >= self.epochs:
            return op(images, shares, seed)
        return tf.cond(
            tf.convert_to_tensor(epoch) < mixed_epochs, lambda: op(images, shares, seed), lambda: (images, shares)
        )


def make_policy(recipes: Mapping[str, Callable[[], Op]], bundle: Bundle, epochs: int) -> Policy:
    """The policy of a run.

    Args:
        recipes: name to what makes the op, as composed from `augment=`.
        bundle: what the run trains on.
        epochs: of the run.

    Example:
        >>> make_policy(config.augment, bundle, config.trainer.epochs)
    """
    return Policy({name: make() for name, make in recipes.items()}, bundle.num_classes, epochs)


def _kind(item: tuple[str, Op]) -> str | int:
    """What ops may share with their neighbours: a fill. Any other stands alone."""
    name, op = item
    return op.fill if isinstance(op, Affine) else _number(name)


def _number(name: str) -> int:
    return crc32(name.encode()) & 0x7FFFFFFF


def _product(matrices: list[tf.Tensor]) -> tf.Tensor:
    """The matrix of all moves: the result's pixel passes the last move first on its way back to the source."""
    product = matrices[0]
    for matrix in matrices[1:]:
        product = product @ matrix
    return product


def _check(name: str, before: tf.Tensor, images: tf.Tensor) -> None:
    if images.shape != before.shape or images.dtype != before.dtype:
        made, given = (f"{some.dtype.name} {tuple(some.shape)}" for some in (images, before))
        raise ConfigError(f"augment.{name} made {made} of {given}: an op must keep the pictures' shape and dtype")
    low, high = float(tf.reduce_min(images)), float(tf.reduce_max(images))
    if not tf.reduce_all(tf.math.is_finite(images)):
        raise ConfigError(f"augment.{name} made pixels that are no finite numbers: look for a division by zero in it")
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise ConfigError(
            f"augment.{name} made pixels from {low:.4g} to {high:.4g}; pictures are from 0 to 1 until they are "
            "standardised: cut them off with tf.clip_by_value(images, 0, 1)"
        )


def _check_shares(name: str, shares: tf.Tensor) -> None:
    sums = tf.reduce_sum(shares, axis=-1)
    if not tf.reduce_all((tf.reduce_min(shares, axis=-1) > -ROUNDING) & (tf.abs(sums - 1.0) < ROUNDING)):
        raise ConfigError(f"augment.{name} made labels whose shares do not sum to 1")
