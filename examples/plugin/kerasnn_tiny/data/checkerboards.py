"""Checkerboards that are drawn, not taken: the class is the number of fields along a side."""

import numpy as np
from kerasnn.data.bundle import Source
from kerasnn.data.examples import ArrayExamples
from kerasnn.ranges import Count, NonNegativeFloat, Positive

FEWEST = 2  # Fields along a side, of the first class.


def checkerboards(
    dir: str | None = None,
    examples: Positive = 1_000,
    image_size: Positive = 32,
    num_classes: Positive = 4,
    noise: NonNegativeFloat = 0.1,
    seed: Count = 0,
) -> Source:
    """Boards of 2×2, 3×3, … fields in two random colours; where the pattern starts, colours and noise vary.

    Args:
        dir: taken so that a sweep over data sets may give `data.dir`; it is not used, nothing is read.
        examples: how many in all; the classes take turns, and the last fifth is the test split.
        image_size: side in pixels.
        num_classes: how many kinds of board.
        noise: deviation of the noise that is added to each pixel, as a share of the full range.
        seed: another seed, other pictures; the same seed, the same ones.

    Example:
        >>> checkerboards(examples=100, image_size=16).train.images.shape
        (80, 16, 16, 3)
    """
    draw = np.random.RandomState(seed)  # NumPy promises never to change its draws.
    labels = (np.arange(examples) % num_classes).astype(np.int32)
    images = _boards(draw, labels + FEWEST, image_size, noise)
    cut = examples - examples // 5
    return Source(
        "checkerboards",
        ArrayExamples(images[:cut], labels[:cut]),
        tuple(f"{fields}×{fields}" for fields in range(FEWEST, FEWEST + num_classes)),
        ArrayExamples(images[cut:], labels[cut:]),
        licence="CC0 1.0",
        origin="drawn by kerasnn_tiny.data.checkerboards",
    )


def _boards(draw: np.random.RandomState, fields: np.ndarray, size: int, noise: float) -> np.ndarray:
    one = (len(fields), 1, 1, 1)
    place = np.arange(size) / size * fields[:, None]  # (examples, size), in fields
    start = draw.uniform(0, 2, (2, len(fields), 1))
    down, across = np.floor(place + start).astype(int)
    odd = ((down[:, :, None] + across[:, None, :]) % 2)[..., None]  # (examples, size, size, 1)
    first, second = draw.uniform(0.0, 0.4, (len(fields), 1, 1, 3)), draw.uniform(0.6, 1.0, (len(fields), 1, 1, 3))
    swapped = draw.uniform(size=one) < 0.5
    light, dark = np.where(swapped, first, second), np.where(swapped, second, first)
    pixels = np.where(odd, light, dark) + noise * draw.standard_normal((len(fields), size, size, 3))
    return np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
