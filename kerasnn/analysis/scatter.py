"""Accuracy against cost, a point per run: a function from rows to a matplotlib `Figure`."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from kerasnn.analysis.figures import BLUE, GREY, INK, ORANGE, blank, tidy

NAME_WIDTH, NAME_HEIGHT = 0.0115, 0.034  # Of a letter and of a line, in fractions of the axes.
POINT = 0.016  # The width of a point, in the same.
MOST_LABELS = 40  # Points that are named; of more, only those on the Pareto front are.


def accuracy_against(rows: Sequence[Mapping[str, object]], x: Literal["params", "flops", "train_seconds"] = "params"):
    """Test accuracy against what it costs, one point per run, the best for their cost joined by a line.

    Args:
        rows: with `model` (or `name`), `test_accuracy` and the cost under the name `x`; a row without both is left out.
        x: the cost, drawn on a logarithmic axis.

    Returns:
        A matplotlib Figure.
    """
    labels = {"params": "parameters", "flops": "FLOPs per example", "train_seconds": "seconds of training"}
    points = [row for row in rows if _is_number(row.get("test_accuracy")) and _is_number(row.get(x)) and row[x] > 0]
    costs, accuracies = ([float(row[key]) for row in points] for key in (x, "test_accuracy"))
    figure = blank(8, 5)
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.set_xlabel(labels.get(x, x), color=INK)
    axes.set_ylabel("test accuracy", color=INK)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
    tidy(axes, "both")
    if not points:
        axes.text(0.5, 0.5, "no finished run to show", transform=axes.transAxes, ha="center", color=GREY)
        return figure
    front = pareto_front(costs, accuracies)
    if len(front) > 1:
        line = [costs[i] for i in front], [accuracies[i] for i in front]
        axes.step(*line, where="post", color=ORANGE, linewidth=1.4, alpha=0.8, label="best for its cost")
        axes.legend(frameon=False, fontsize=9, loc="lower right")
    colours = [ORANGE if index in front else BLUE for index in range(len(points))]
    axes.scatter(costs, accuracies, s=46, c=colours, edgecolors="white", linewidths=0.8, zorder=3)
    axes.margins(x=0.14, y=0.14)
    _name_points(axes, points, costs, accuracies, front)
    return figure


def pareto_front(costs: Sequence[float], accuracies: Sequence[float]) -> list[int]:
    """Indices of the points that no other beats in accuracy at the same or a lower cost, cheapest first.

    Example:
        >>> pareto_front([1, 2, 3], [0.9, 0.8, 0.95])
        [0, 2]
    """
    front, best = [], -math.inf
    for index in sorted(range(len(costs)), key=lambda i: (costs[i], -accuracies[i])):
        if accuracies[index] > best:
            front.append(index)
            best = accuracies[index]
    return front


def _name_points(axes, points, costs, accuracies, front: list[int]) -> None:
    """Writes each name beside its point, in the first place that is free; far ones get a line to their point."""
    from matplotlib.patheffects import withStroke

    low, high = axes.get_ylim()
    left, right = (math.log10(limit) for limit in axes.get_xlim())
    places = [
        ((math.log10(x) - left) / (right - left), (y - low) / (high - low))
        for x, y in zip(costs, accuracies, strict=True)
    ]
    taken = [(across - POINT / 2, up, POINT) for across, up in places]
    for index in sorted(range(len(points)), key=lambda i: (i not in front, -accuracies[i])):
        if len(points) > MOST_LABELS and index not in front:
            continue
        name = str(points[index].get("model") or points[index].get("name"))
        across, up = places[index]
        place = _place(taken, across, up, NAME_WIDTH * len(name))
        if place is None:
            continue
        taken.append((*place, NAME_WIDTH * len(name)))
        far = abs(place[1] - up) > 1.5 * NAME_HEIGHT
        axes.annotate(
            name,
            (across, up),
            place,
            xycoords="axes fraction",
            textcoords="axes fraction",
            fontsize=8.5,
            va="center",
            color=INK,
            zorder=4,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkB": 4} if far else None,
        )


def _place(taken: list[tuple[float, float, float]], across: float, up: float, width: float):
    """Where a name may start, in fractions of the axes: left above its point by preference, where no line runs."""
    for step in (1, -1, 2, -2, 3, -3, 4, -4):
        for start in (across - 0.008 - width, across + 0.008):
            place = start, up + step * NAME_HEIGHT
            if 0.005 < start < 0.995 - width and 0.02 < place[1] < 0.98 and _free(taken, *place, width):
                return place
    return None


def _free(taken: list[tuple[float, float, float]], start: float, height: float, width: float) -> bool:
    return all(
        abs(height - other) >= 0.95 * NAME_HEIGHT or start >= begin + wide or begin >= start + width
        for begin, other, wide in taken
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and math.isfinite(value)
