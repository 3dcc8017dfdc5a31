"""Pictures that are drawn, not taken: the set for tests and for timing, learnable in seconds."""

from typing import Literal

import numpy as np

from kerasnn.data.bundle import Source
from kerasnn.data.examples import ArrayExamples
from kerasnn.ranges import Count, NonNegativeFloat, Positive


def synthetic(
    dir: str | None = None,
    examples: Positive = 2_000,
    image_size: Positive = 32,
    channels: Literal[1, 3] = 3,
    num_classes: Positive = 10,
    noise: NonNegativeFloat = 0.2,
    seed: Count = 0,
) -> Source:
    """Striped pictures: the class is the direction of the stripes; phase, wavelength and noise vary.

    Args:
        dir: taken so that a sweep over data sets may give `data.dir`; it is not used, nothing is read.
        examples: how many in all; the classes take turns, and the last fifth is the test split.
        image_size: side in pixels.
        channels: 1 or 3; with 3 each picture has a tint of its own, which says nothing of its class.
        num_classes: how many directions, evenly spaced over half a turn.
        noise: deviation of the noise that is added to each pixel, as a share of the full range.
        seed: another seed, other pictures; the same seed, the same ones.

    Example:
        >>> synthetic(examples=100, image_size=16, channels=1).train.images.shape
        (80, 16, 16, 1)
    """
    draw = np.random.RandomState(seed)  # NumPy promises never to change its draws.
    labels = (np.arange(examples) % num_classes).astype(np.int32)
    images = np.empty((examples, image_size, image_size, channels), np.uint8)
    for start in range(0, examples, 512):  # A part at a time, to hold little besides the result.
        part = slice(start, start + 512)
        images[part] = _stripes(draw, labels[part] * np.pi / num_classes, image_size, channels, noise)
    cut = examples - examples // 5
    return Source(
        "synthetic",
        ArrayExamples(images[:cut], labels[:cut]),
        tuple(f"{round(180 * i / num_classes, 1):g} degrees" for i in range(num_classes)),
        ArrayExamples(images[cut:], labels[cut:]),
        licence="CC0 1.0",
        origin="drawn by kerasnn.data.synthetic",
    )


def _stripes(draw: np.random.RandomState, angles: np.ndarray, size: int, channels: int, noise: float) -> np.ndarray:
    one = (len(angles), 1, 1, 1)
    along = (np.arange(size) / size)[None, :, None, None]  # height
    across = along.swapaxes(1, 2)  # width
    angles = angles.reshape(one)
    waves = draw.uniform(2.5, 4.0, one)
    phase = draw.uniform(0, 2 * np.pi, one)
    tint = draw.uniform(0.5, 1.0, (len(angles), 1, 1, channels))
    light = 0.5 + 0.5 * np.sin(2 * np.pi * waves * (across * np.cos(angles) + along * np.sin(angles)) + phase)
    pixels = light * tint + noise * draw.standard_normal((len(angles), size, size, channels))
    return np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
