"""Original pictures beside their augmented selves, as training will see them."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kerasnn.augment.policy import Policy
from kerasnn.data.bundle import Bundle
from kerasnn.data.stream import batch_at


def augmented_grid(
    bundle: Bundle, policy: Policy | None, seed: int, count: int = 8, batch_size: int | None = None, draws: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """The first pictures of the stream's first batch, before and after augmentation.

    Args:
        bundle: what to train on.
        policy: the augmentation of a run; None changes nothing.
        seed: of the run.
        count: how many pictures; fewer come back where a batch has fewer.
        batch_size: of the run, for the very draws of its first batch; None makes a batch of `count`.
        draws: how often each picture is augmented; the first draw is the run's own.

    Returns:
        images: uint8 `(count, 1 + draws, height, width, channels)`, the original at 0, then the augmented ones;
        labels: int32 `(count, 1 + draws)`, or of a policy that mixes shares, float32 `(count, 1 + draws, classes)`.

    Raises:
        ConfigError: what an op makes is no picture, or labels do not sum to 1.

    Example:
        >>> images, labels = augmented_grid(bundle, policy, seed=0, batch_size=128)
    """
    policy = policy or Policy()
    size = batch_size or min(count, len(bundle.train))

    def views(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, epoch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        seeds = [seed, *(tf.random.fold_in(seed, draw) for draw in range(1, draws))]
        drawn = [(images, policy.plain_labels(labels)), *(policy(images, labels, own, epoch) for own in seeds)]
        # The stream standardises what it gets as pictures, however many batches of them.
        return tf.concat([each for each, _ in drawn], axis=0), tf.stack([each for _, each in drawn], axis=1)

    images, labels = batch_at(bundle, seed=seed, batch_size=size, epoch=0, step=0, augment=views)
    columns = _to_bytes(images.numpy(), bundle).reshape(1 + draws, size, *images.shape[1:])
    return columns.swapaxes(0, 1)[:count], labels.numpy()[:count]


def caption(label: np.ndarray, class_names: Sequence[str]) -> str:
    """A label in words, or the two largest of its shares, one a line.

    Example:
        >>> caption(np.array([0.0, 0.7, 0.3]), ["plane", "car", "bird"])
        '70 % car\\n30 % bird'
    """
    if np.ndim(label) == 0:
        return class_names[int(label)]
    largest = [place for place in np.argsort(-label, kind="stable")[:2] if label[place] >= 0.005]
    if len(largest) == 1:
        return class_names[largest[0]]
    return "\n".join(f"{label[place]:.0%} {class_names[place]}".replace("%", " %") for place in largest)


def _to_bytes(images: np.ndarray, bundle: Bundle) -> np.ndarray:
    """Standardised images back to uint8."""
    scaled = images * np.float32(bundle.deviation) + np.float32(bundle.mean)
    return np.rint(np.clip(scaled, 0.0, 1.0) * 255.0).astype(np.uint8)
