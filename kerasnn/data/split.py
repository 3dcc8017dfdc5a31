"""Divides labelled examples so that every part has the classes in the same shares, the same way every time."""

import numpy as np


def hold_out(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices that stay and indices that are held out, each ascending.

    A class keeps at least one example, and gives at least one where it has two or more and something is held out.

    Args:
        labels: class of each example, `(examples,)`.
        fraction: share to hold out.
        seed: fixes who is chosen; the same seed and labels give the same division for ever.

    Example:
        >>> kept, held = hold_out(np.array([0, 0, 0, 0, 1, 1, 1, 1]), 0.25, seed=0)
        >>> len(kept), sorted(int(label) for label in np.array([0, 0, 0, 0, 1, 1, 1, 1])[held])
        (6, [0, 1])
    """
    members = _shuffled_members(labels, seed)
    sizes = np.array([len(part) for part in members])
    counts = _share(sizes, round(fraction * len(labels)))
    if fraction > 0:
        counts = np.clip(counts, np.minimum(1, sizes - 1), sizes - 1)
    held = np.sort(np.concatenate([part[:count] for part, count in zip(members, counts, strict=True)]))
    return np.setdiff1d(np.arange(len(labels)), held), held


def subset(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Ascending indices of `count` examples with the classes in the shares that they have in `labels`."""
    members = _shuffled_members(labels, seed)
    counts = _share(np.array([len(part) for part in members]), count)
    return np.sort(np.concatenate([part[:n] for part, n in zip(members, counts, strict=True)]))


def subset_of_each(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Ascending indices of `count` examples of each class; those of a smaller count are among those of a larger one."""
    return np.sort(np.concatenate([part[:count] for part in _shuffled_members(labels, seed)]))


def _shuffled_members(labels: np.ndarray, seed: int) -> list[np.ndarray]:
    """The indices of each class in an order of its own. RandomState, since NumPy promises never to change its draws."""
    return [
        np.random.RandomState([seed, label]).permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)
    ]


def _share(sizes: np.ndarray, total: int) -> np.ndarray:
    """`total` dealt out in proportion to `sizes`; the largest remainders get what is left over."""
    exact = total * sizes / sizes.sum()
    counts = np.floor(exact).astype(int)
    left = total - counts.sum()
    counts[np.argsort(counts - exact, kind="stable")[:left]] += 1
    return counts
