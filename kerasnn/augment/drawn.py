"""RandAugment, TrivialAugment and AugMix: each picture passes through operations that were drawn for it.

Where pixels move, the whole batch is warped at once, by a matrix for each picture that leaves the others as they are. A
picture costs only its own operation of tone: the batch is parted by what was drawn, each part passes through its
function, and the parts are put back in their places.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tensorflow as tf

from kerasnn.augment import tone
from kerasnn.augment.affine import shear_and_shift, turn
from kerasnn.augment.chance import beta, dirichlet
from kerasnn.augment.rows import like, to_rows
from kerasnn.augment.warp import Fill, warp
from kerasnn.errors import ConfigError
from kerasnn.ranges import Positive, PositiveFloat, Range

Operation = Literal[
    "identity",
    "rotate",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "auto_contrast",
    "equalize",
    "posterize",
    "solarize",
    "brightness",
    "colour",
    "contrast",
    "sharpness",
]
"""The fourteen of Cubuk et al. 2020, section 3: none, five that move pixels, eight of tone."""

Magnitude = Annotated[float, Range(low=0, high=30)]

MOVES = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")


@dataclass(frozen=True)
class Space:
    """How strong each operation is at strength 1; at strength 0 it does nothing, or as little as it can.

    Args:
        degrees: of the rotation.
        shear: of either shear, pixels per pixel.
        share: of the height or width, by which to translate …
        pixels: … and how many more.
        enhance: how far the factor of brightness, colour, contrast and sharpness is from 1.
        bits: what posterize keeps at strength 0 and at strength 1.

    Solarize inverts nothing at strength 0 and the whole picture at strength 1.
    """

    degrees: float
    shear: float
    share: float
    pixels: float
    enhance: float
    bits: tuple[int, int]


STANDARD = Space(degrees=30.0, shear=0.3, share=150 / 331, pixels=0.0, enhance=0.9, bits=(8, 4))
"""RandAugment's, as torchvision has it: 150 pixels of the 331 of AutoAugment's pictures."""

WIDE = Space(degrees=135.0, shear=0.99, share=0.0, pixels=32.0, enhance=0.99, bits=(8, 2))
"""TrivialAugment's wide space, Müller & Hutter 2021, table 1."""

MIXED = Space(degrees=30.0, shear=0.3, share=1 / 3, pixels=0.0, enhance=0.0, bits=(4, 0))
"""AugMix's, from the authors' code; what the corrupted test sets contain (brightness, contrast …) it does without."""

Tone = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, Space], tf.Tensor]  # of images, strengths, signs, space

TONES: dict[str, Tone] = {
    "auto_contrast": lambda images, strength, sign, space: tone.auto_contrast(images),
    "equalize": lambda images, strength, sign, space: tone.equalize(images),
    "posterize": lambda images, strength, sign, space: tone.posterize(images, _bits(strength, space)),
    "solarize": lambda images, strength, sign, space: tone.solarize(images, (1.0 - strength) * 256 / 255),
    "brightness": lambda images, strength, sign, space: tone.brightness(images, 1.0 + space.enhance * sign * strength),
    "colour": lambda images, strength, sign, space: tone.colour(images, 1.0 + space.enhance * sign * strength),
    "contrast": lambda images, strength, sign, space: tone.contrast(images, 1.0 + space.enhance * sign * strength),
    "sharpness": lambda images, strength, sign, space: tone.sharpness(images, 1.0 + space.enhance * sign * strength),
}

OPERATIONS = ("identity", *MOVES, *TONES)

PART_OF = (*(0 for _ in ("identity", *MOVES)), *range(1, len(TONES) + 1))  # by operation

UNCORRUPTING = (*MOVES, "auto_contrast", "equalize", "posterize", "solarize")  # AugMix's nine


@dataclass(frozen=True)
class RandAugment:
    """Several operations for each picture, drawn alike, all of one strength (Cubuk et al. 2020).

    Args:
        num_ops: operations in a row, the paper's N: 1 to 3.
        magnitude: their strength from 0 to 30, the paper's M: 9 for ResNet-50 on ImageNet, 5 for WideResNet on CIFAR.
        operations: to draw from; None takes all fourteen.
        fill: what lies beyond the border; the reference's is a single colour, so `constant`, black.

    Pixels are sampled bilinearly where they move. Shapes: `(batch, height, width, 1 or 3)` in and out.

    Example:
        >>> RandAugment(num_ops=2, magnitude=9)(images, seed=tf.constant([0, 1]))
    """

    num_ops: Positive = 2
    magnitude: Magnitude = 9.0
    operations: Sequence[Operation] | None = None
    fill: Fill = "constant"

    def __post_init__(self):
        _check_operations(self.operations)

    def __call__(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Pass each picture through its own draw; shape, dtype and range stay."""
        batch = tf.shape(images)[0]
        strengths = tf.fill([batch], self.magnitude / 30.0)
        for own in tf.unstack(tf.random.split(seed, self.num_ops)):
            which, signs = tf.unstack(tf.random.split(own, 2))
            drawn = _draw(self.operations or OPERATIONS, batch, which)
            images = apply_drawn(images, drawn, strengths, _signs(batch, signs), STANDARD, self.fill)
        return images


@dataclass(frozen=True)
class TrivialAugment:
    """One operation for each picture, of a strength that is drawn too: no number to tune (Müller & Hutter 2021).

    Args:
        operations: to draw from; None takes all fourteen.
        fill: what lies beyond the border.

    The wide space of the paper's table 1, of 31 strengths. Shapes: `(batch, height, width, 1 or 3)` in and out.

    Example:
        >>> TrivialAugment()(images, seed=tf.constant([0, 1]))
    """

    operations: Sequence[Operation] | None = None
    fill: Fill = "constant"

    def __post_init__(self):
        _check_operations(self.operations)

    def __call__(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Pass each picture through its own draw; shape, dtype and range stay."""
        batch = tf.shape(images)[0]
        which, strong, signs = tf.unstack(tf.random.split(seed, 3))
        strengths = tf.cast(tf.random.stateless_uniform([batch], strong, 0, 31, tf.int32), tf.float32) / 30.0
        drawn = _draw(self.operations or OPERATIONS, batch, which)
        return apply_drawn(images, drawn, strengths, _signs(batch, signs), WIDE, self.fill)


@dataclass(frozen=True)
class AugMix:
    """A picture mixed with a mixture of chains of one to three weak operations (Hendrycks et al. 2020, algorithm 1).

    result = (1 - m) · picture + m · Σ w_i · chain_i(picture), m from Beta(alpha, alpha), w from Dirichlet(alpha, …).
    The label stays. The paper's consistency loss over three such views is not part of this op.

    Args:
        width: how many chains.
        severity: from 1 to 10; each operation's strength is drawn from 0.1 to severity, of ten.
        alpha: of both distributions; 1 draws evenly.
        fill: what lies beyond the border.

    Shapes: `(batch, height, width, 1 or 3)` in and out.

    Example:
        >>> AugMix(width=3, severity=3)(images, seed=tf.constant([0, 1]))
    """

    width: Positive = 3
    severity: Annotated[float, Range(low=1, high=10)] = 3.0
    alpha: PositiveFloat = 1.0
    fill: Fill = "constant"

    def __call__(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Mix each picture by its own draw; shape, dtype and range stay."""
        batch = tf.shape(images)[0]
        weigh, blend, deep, *layers = tf.unstack(tf.random.split(seed, 6))
        chains = tf.concat([images] * self.width, axis=0)
        depth = tf.random.stateless_uniform([self.width * batch], deep, 1, 4, tf.int32)
        for done, own in enumerate(layers):
            chains = self._lengthen(chains, done < depth, own)
        share = beta(tf.random.stateless_uniform([4, batch], blend), self.alpha)
        weights = share * dirichlet(self.width, batch, self.alpha, weigh)  # (width, batch)
        mixed = (1.0 - share)[:, None] * to_rows(images)
        for weight, chain in zip(tf.unstack(weights), tf.split(to_rows(chains), self.width), strict=True):
            mixed += weight[:, None] * chain
        return like(tf.clip_by_value(mixed, 0.0, 1.0), images)

    def _lengthen(self, chains: tf.Tensor, open_: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """One more operation for the chains that are still open."""
        which, strong, signs = tf.unstack(tf.random.split(seed, 3))
        count = tf.shape(chains)[0]
        drawn = tf.where(open_, _draw(UNCORRUPTING, count, which), 0)
        strengths = tf.random.stateless_uniform([count], strong, 0.1, self.severity) / 10.0
        return apply_drawn(chains, drawn, strengths, _signs(count, signs), MIXED, self.fill)


def apply_drawn(
    images: tf.Tensor, drawn: tf.Tensor, strengths: tf.Tensor, signs: tf.Tensor, space: Space, fill: Fill
) -> tf.Tensor:
    """Each picture through the operation that was drawn for it, and no other.

    Args:
        images: float32 `(batch, height, width, 1 or 3)` in [0, 1].
        drawn: int32 `(batch,)`, places in OPERATIONS.
        strengths: float32 `(batch,)` in [0, 1].
        signs: float32 `(batch,)`, -1 or 1: left or right, darker or brighter.
        space: how strong an operation is at strength 1.
        fill: what lies beyond the border.

    Returns:
        Images of the same shape and range.
    """
    images = warp(images, _move(drawn, strengths, signs, tf.shape(images), space), fill)
    parts = tf.gather(tf.constant(PART_OF), drawn)
    numbers = tf.stack([strengths, signs], axis=1)
    count = PART_OF[-1] + 1
    places = tf.dynamic_partition(tf.range(tf.shape(images)[0]), parts, count)
    done, *toned = tf.dynamic_partition(images, parts, count)
    _, *settings = tf.dynamic_partition(numbers, parts, count)
    changed = [
        change(pictures, *tf.unstack(own, axis=1), space)
        for change, pictures, own in zip(TONES.values(), toned, settings, strict=True)
    ]
    return tf.ensure_shape(tf.dynamic_stitch(places, [done, *changed]), images.shape)


def _move(drawn: tf.Tensor, strengths: tf.Tensor, signs: tf.Tensor, shape: tf.Tensor, space: Space) -> tf.Tensor:
    """Matrices of the operations that move pixels: a rotation about the centre, one of the other four, or no move."""

    def amount(name: str) -> tf.Tensor:
        return tf.where(drawn == OPERATIONS.index(name), signs * strengths, 0.0)

    height, width = (space.share * tf.cast(shape[axis], tf.float32) + space.pixels for axis in (1, 2))
    turned = turn(math.radians(space.degrees) * amount("rotate"), shape)
    slanted = shear_and_shift(
        space.shear * amount("shear_x"),
        space.shear * amount("shear_y"),
        width * amount("translate_x"),
        height * amount("translate_y"),
    )
    return turned @ slanted  # One of the two, or both, is the unit matrix.


def _bits(strengths: tf.Tensor, space: Space) -> tf.Tensor:
    most, least = space.bits
    return most - tf.round((most - least) * strengths)


def _draw(operations: Sequence[str], batch: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Places in OPERATIONS, `(batch,)`, each of the operations as likely as any other."""
    places = tf.constant([OPERATIONS.index(name) for name in operations])
    return tf.gather(places, tf.random.stateless_uniform([batch], seed, 0, len(operations), tf.int32))


def _signs(batch: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return 2.0 * tf.cast(tf.random.stateless_uniform([batch], seed, 0, 2, tf.int32), tf.float32) - 1.0


def _check_operations(operations: Sequence[str] | None) -> None:
    if operations is not None and not operations:
        raise ConfigError(f"operations is empty: name some of {', '.join(OPERATIONS)}, or null for all")
