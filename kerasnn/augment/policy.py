"""Several ops, one after the other, as one function of images, labels and a seed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from zlib import crc32

import tensorflow as tf

from kerasnn.augment.affine import Affine, warp

Op = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


@dataclass(frozen=True, eq=False)
class Policy:
    """Apply ops in their order, each with a seed of its own.

    An op's seed is folded from its name: adding or removing another op leaves its draws as they were.
    Neighbouring affine ops with the same fill are merged into one resampling.

    Args:
        ops: name to op, as composed from `augment=`; empty changes nothing.

    Shapes: images `(batch, height, width, channels)` and labels `(batch,)`, in and out.

    Example:
        >>> policy = Policy({"flip": Flip(), "noise": Noise(0.1)})
        >>> images, labels = policy(images, labels, seed=tf.constant([0, 1]))
    """

    ops: Mapping[str, Op] = field(default_factory=dict)

    def __call__(self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Augment a batch: float32 images in [0, 1], int32 labels, int32 seed of shape (2,)."""
        for fill, group in groupby(self.ops.items(), key=_fill):
            seeded = [(op, tf.random.fold_in(seed, _number(name))) for name, op in group]
            if fill is None:
                for op, own in seeded:
                    images = op(images, own)
            else:
                shape = tf.shape(images)
                matrices = [op.matrix(shape, own) for op, own in seeded]
                images = warp(images, _product(matrices), fill)
        return images, labels


def _fill(item: tuple[str, Op]) -> str | None:
    _, op = item
    return op.fill if isinstance(op, Affine) else None


def _number(name: str) -> int:
    return crc32(name.encode()) & 0x7FFFFFFF


def _product(matrices: list[tf.Tensor]) -> tf.Tensor:
    """The matrix of all moves: the result's pixel passes the last move first on its way back to the source."""
    product = matrices[0]
    for matrix in matrices[1:]:
        product = product @ matrix
    return product
