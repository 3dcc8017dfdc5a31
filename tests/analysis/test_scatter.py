"""Accuracy against cost: which points are drawn, named and on the front."""

import pytest

from kerasnn.analysis import figures
from kerasnn.analysis.scatter import accuracy_against, pareto_front

ROWS = [
    {"model": "lenet5", "params": 61_706, "test_accuracy": 0.65, "flops": 1e6},
    {"model": "mlp", "params": 300_000, "test_accuracy": 0.52, "flops": 6e5},
    {"model": "vgg16", "params": 15_000_000, "test_accuracy": 0.9, "flops": 6e8},
]


def test_pareto_front_leaves_out_what_is_dearer_and_worse():
    assert pareto_front([1, 2, 3, 3], [0.9, 0.8, 0.95, 0.96]) == [0, 3]
    assert pareto_front([], []) == []


@pytest.mark.parametrize("x", ["params", "flops", "train_seconds"])
def test_accuracy_against_names_the_points(x, tmp_path):
    figure = accuracy_against(ROWS, x)
    figures.save(figure, tmp_path / "figure.png")
    texts = [text.get_text() for text in figure.axes[0].texts]
    if x == "train_seconds":
        assert "no finished run to show" in texts
    else:
        assert {"lenet5", "mlp", "vgg16"} <= set(texts)


def test_accuracy_against_leaves_out_rows_without_numbers(tmp_path):
    rows = [
        *ROWS,
        {"model": "a", "params": None, "test_accuracy": 1.0},
        {"name": "b", "params": 5, "test_accuracy": None},
    ]
    rows += [
        {"model": "c", "params": 10, "test_accuracy": float("nan")},
        {"model": "d", "params": 0, "test_accuracy": 1.0},
    ]
    figure = accuracy_against(rows)
    assert len(figure.axes[0].collections[0].get_offsets()) == 3
    figures.save(accuracy_against(rows[:1]), tmp_path / "figure.png")


def test_accuracy_against_stays_readable_with_many_equal_points(tmp_path):
    figures.save(accuracy_against(ROWS * 30), tmp_path / "figure.png")
