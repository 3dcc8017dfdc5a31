"""Original pictures beside their augmented selves, as training will see them."""

import numpy as np

from kerasnn.data.bundle import Bundle
from kerasnn.data.stream import Augment, batch_at


def augmented_grid(
    bundle: Bundle, augment: Augment | None, seed: int, count: int = 8, batch_size: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The first pictures of the stream's first batch, before and after augmentation.

    Args:
        bundle: what to train on.
        augment: as for `train_stream`.
        seed: of the run.
        count: how many pictures; fewer come back where a batch has fewer.
        batch_size: of the run, for the very draws of its first batch; None makes a batch of `count`.

    Returns:
        images: uint8 `(count, 2, height, width, channels)`, the original at 0 and the augmented one at 1;
        labels: int32 `(count,)`.

    Example:
        >>> images, labels = augmented_grid(bundle, policy, seed=0, batch_size=128)
    """
    size = batch_size or min(count, len(bundle.train))
    pairs = [batch_at(bundle, seed=seed, batch_size=size, epoch=0, step=0, augment=each) for each in (None, augment)]
    columns = [_to_bytes(images[:count].numpy(), bundle) for images, _ in pairs]
    return np.stack(columns, axis=1), pairs[0][1][:count].numpy()


def _to_bytes(images: np.ndarray, bundle: Bundle) -> np.ndarray:
    """Standardised images back to uint8."""
    scaled = images * np.float32(bundle.deviation) + np.float32(bundle.mean)
    return np.rint(np.clip(scaled, 0.0, 1.0) * 255.0).astype(np.uint8)
