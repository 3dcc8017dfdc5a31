"""Pictures of a run: functions from arrays to a matplotlib `Figure`. No pyplot, no screen, no state that is shared.

Colours are Okabe and Ito's, which the colour-blind tell apart; the map of the confusion matrix is even in lightness.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

BLUE, ORANGE, GREEN, GREY, INK = "#0072B2", "#D55E00", "#009E73", "#8a8f98", "#24292f"

CURVES = {
    "train/": ("training", BLUE, "--"),
    "val/": ("validation", ORANGE, "-"),
    "val/ema_": ("validation, average", GREEN, "-"),
}
"""By the beginning of a metric's name: what the legend says, and how it is drawn."""

DPI = 150
MOST_NUMBERED_CLASSES = 20  # Above it a cell is too small for its count.


def save(figure, path: str | Path) -> None:
    """Writes a figure as PNG (or what the name ends in); folders are made.

    Args:
        figure: from one of the functions here.
        path: the file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI)


def blank(width: float, height: float, layout: str | None = "constrained"):
    """An empty figure, inches wide and high, that draws without a screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def tidy(axes, grid: Literal["x", "y", "both"] | None = "y") -> None:
    """Two sides of the frame go; a pale grid comes behind, along the axes that are named."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)
    axes.tick_params(colors=INK, labelsize=9)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color="#e6e8eb", linewidth=0.8)


def curves(history: Mapping[str, Sequence[float]], best_epoch: int | None = None, best_is_average: bool = False):
    """Loss and accuracy by epoch, on the training and the validation split, the best epoch marked.

    Args:
        history: lists of one number per epoch under `train/loss val/loss train/accuracy val/accuracy`, and of averaged
            weights `val/ema_loss val/ema_accuracy`; what is absent is left out, what is not finite leaves a gap.
        best_epoch: the epoch whose weights were kept, counted from 1; None marks none.
        best_is_average: what was kept are the averaged weights.

    Returns:
        A matplotlib Figure.
    """
    from matplotlib.ticker import MaxNLocator

    figure, kept = blank(9, 3.6), "val/ema_" if best_is_average else "val/"
    for axes, quantity in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for prefix, (name, colour, style) in CURVES.items():
            values = np.asarray(history.get(f"{prefix}{quantity}", ()), dtype=float)
            values[~np.isfinite(values)] = np.nan
            if not values.size:
                continue
            epochs = np.arange(1, len(values) + 1)
            marker = "o" if len(values) <= 30 else None
            axes.plot(epochs, values, style, color=colour, label=name, marker=marker, markersize=3.5, linewidth=1.8)
            if prefix == kept and best_epoch and best_epoch <= len(values):
                _mark(axes, best_epoch, values[best_epoch - 1], quantity)
        axes.set_title(quantity.capitalize(), loc="left", fontsize=11, color=INK, fontweight="bold")
        axes.set_xlabel("epoch", color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.margins(y=0.12)
        tidy(axes)
        if axes.lines:
            axes.legend(frameon=False, fontsize=9)
    return figure


def _mark(axes, epoch: int, value: float, quantity: str) -> None:
    axes.axvline(epoch, color=GREY, linewidth=0.8, linestyle=":")
    axes.plot([epoch], [value], "o", color=ORANGE, markersize=9, markerfacecolor="white", markeredgewidth=2, zorder=5)
    shown = f"{value:.2%}" if quantity == "accuracy" else f"{value:.4g}"
    axes.set_title(f"validation {shown} at the best epoch, {epoch}", loc="right", fontsize=9, color=INK)


def rate_range(rates: Sequence[float], losses: Sequence[float], smooth: Sequence[float], suggestion: float):
    """Loss by learning rate in a range test, as it was and smoothed, the suggested rate marked.

    Args:
        rates: of each step, rising; drawn on a logarithmic axis.
        losses: of each step.
        smooth: the same, averaged over neighbours.
        suggestion: the rate to mark.

    Returns:
        A matplotlib Figure.
    """
    figure = blank(7, 4)
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.plot(rates, losses, ".", color=GREY, markersize=4, label="each step")
    axes.plot(rates, smooth, color=BLUE, linewidth=1.8, label="smoothed")
    axes.axvline(suggestion, color=ORANGE, linewidth=1.4, linestyle="--", label=f"suggestion {suggestion:g}")
    axes.set_ylim(top=min(max(losses), 1.5 * max(smooth[0], losses[0])))
    axes.set_xlabel("learning rate", color=INK)
    axes.set_ylabel("training loss", color=INK)
    tidy(axes, "both")
    axes.legend(frameon=False, fontsize=9)
    return figure


def confusion(matrix: np.ndarray, class_names: Sequence[str]):
    """The confusion matrix: rows are the true classes, columns the predicted ones, colours the share of the row.

    Args:
        matrix: counts, `(classes, classes)`.
        class_names: one per class.

    Returns:
        A matplotlib Figure; with up to 20 classes each cell shows its count.
    """
    from matplotlib.colors import PowerNorm  # The square root lifts rare confusions out of the white.

    matrix = np.asarray(matrix)
    classes = len(matrix)
    side = min(max(4.2, 1.8 + 0.42 * classes), 13)
    figure = blank(side + 0.8, side)
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    size = 9 if classes <= 20 else max(4.5, 260 / classes)
    long = max((len(str(name)) for name in class_names), default=0) > 3
    axes.set_xticks(range(classes), class_names, rotation=90 if long else 0, fontsize=size)
    axes.set_yticks(range(classes), class_names, fontsize=size)
    axes.tick_params(length=0, colors=INK)
    axes.set_xlabel("predicted", color=INK)
    axes.set_ylabel("true", color=INK)
    right, total = int(np.trace(matrix)), int(matrix.sum())
    axes.set_title(f"{right:,} of {total:,} right ({right / max(total, 1):.2%})", loc="left", fontsize=11, color=INK)
    for side_name in axes.spines:
        axes.spines[side_name].set_visible(False)
    if classes <= MOST_NUMBERED_CLASSES:
        _number(axes, matrix, shares)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8, aspect=35).outline.set_visible(False)
    return figure


def _number(axes, matrix: np.ndarray, shares: np.ndarray) -> None:
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            colour = "white" if shares[row, column] > 0.3 else INK
            axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=7.5, color=colour)


def image_grid(images: np.ndarray, titles: Sequence[str] = (), columns: int | None = None):
    """Pictures side by side, each with its title.

    Args:
        images: `(count, height, width, channels)`, uint8, or float in [0, 1]; one channel is shown in grey.
        titles: one per picture, or none; a line break makes a second line.
        columns: per row; by default an even number that makes the grid about square.

    Returns:
        A matplotlib Figure.
    """
    images = np.asarray(images)
    columns = columns or min(len(images), 2 * math.ceil(math.sqrt(len(images)) / 2)) or 1
    rows = math.ceil(len(images) / columns) or 1
    lines = max((str(title).count("\n") + 1 for title in titles), default=0)
    tall = 1.05 + 0.1 * lines  # One picture is a unit wide and high; its title stands above it.
    figure = blank(1.7 * columns, 1.7 * tall * rows, layout=None)
    # One axes for all: laying out one per picture takes longer than all the rest of a short run's figures.
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-0.05, columns), ylim=(tall * rows, 0))
    axes.set_axis_off()
    for index, image in enumerate(images):
        left, top = index % columns, (index // columns + 1) * tall - 1
        _show(axes, image, (left, left + 0.95, top + 0.95, top))
        if index < len(titles):
            place = {"ha": "center", "va": "bottom"}
            axes.text(left + 0.475, top - 0.03, _short(titles[index]), fontsize=8.5, color=INK, **place)
    axes.set(xlim=(-0.05, columns), ylim=(tall * rows, 0))
    return figure


def _show(axes, image: np.ndarray, extent: tuple[float, float, float, float]) -> None:
    if image.dtype != np.uint8:
        image = np.clip(np.nan_to_num(image.astype(float)), 0, 1)
    grey = image.shape[-1] == 1
    top = 255 if image.dtype == np.uint8 else 1
    shown = image[..., 0] if grey else image
    axes.imshow(shown, cmap="gray" if grey else None, vmin=0, vmax=top, extent=extent, aspect="auto")


def _short(title: str, most: int = 24) -> str:
    return "\n".join(line if len(line) <= most else f"{line[: most - 1]}…" for line in str(title).split("\n"))


def worst_mistakes(
    images: np.ndarray,
    labels: Sequence[int],
    predicted: Sequence[int],
    confidence: Sequence[float],
    class_names: Sequence[str],
):
    """The mistakes that the network was surest of, in the order given: what it saw, what it said, what is true.

    Args:
        images: `(count, height, width, channels)`, uint8, or float in [0, 1].
        labels: the true class of each.
        predicted: the class that the network chose.
        confidence: the probability that it gave to it.
        class_names: one per class.

    Returns:
        A matplotlib Figure.
    """
    titles = [
        f"{class_names[said]} {sure:.0%}\ntrue: {class_names[true]}"
        for true, said, sure in zip(labels, predicted, confidence, strict=True)
    ]
    return image_grid(images, titles)
