import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from kerasnn.analysis import figures

HISTORY = {
    "train/loss": [2.0, 1.0, 0.5],
    "val/loss": [2.1, 1.2, 1.3],
    "train/accuracy": [0.3, 0.6, 0.9],
    "val/accuracy": [0.3, 0.7, 0.7],
}


def drawn(figure, path) -> np.ndarray:
    """The saved picture's pixels."""
    figures.save(figure, path / "folder" / "figure.png")
    with Image.open(path / "folder" / "figure.png") as image:
        return np.asarray(image.convert("RGB"))


def texts(figure) -> str:
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    found += [axes.get_title(loc=place) for axes in figure.axes for place in ("left", "center", "right")]
    return "\n".join(found)


def test_curves_mark_the_epoch_whose_weights_were_kept(tmp_path):
    figure = figures.curves(HISTORY, best_epoch=2)
    assert "70.00% at the best epoch, 2" in texts(figure)
    assert "validation 1.2 at the best epoch, 2" in texts(figure)
    assert drawn(figure, tmp_path).std() > 0


@pytest.mark.parametrize(
    "history",
    [
        {},
        {"train/loss": [1.0]},
        {**HISTORY, "val/loss": [float("nan")] * 3, "val/accuracy": [float("nan")] * 3},
        {**HISTORY, "train/loss": [float("inf"), 1.0, 0.5]},
    ],
    ids=["empty", "training only", "nan", "inf"],
)
def test_curves_take_what_a_broken_training_leaves(history, tmp_path):
    drawn(figures.curves(history, best_epoch=1), tmp_path)


@pytest.mark.parametrize("classes", [1, 10, 100])
def test_confusion_is_drawn_for_any_number_of_classes(classes, tmp_path):
    matrix = 3 * np.eye(classes, dtype=int)
    figure = figures.confusion(matrix, [f"class {index}" for index in range(classes)])
    assert f"{3 * classes} of {3 * classes} right (100.00%)" in texts(figure)
    shown = sum(text.get_text() == "3" for text in figure.axes[0].texts)
    assert shown == (classes if classes <= 20 else 0)
    height, width, _ = drawn(figure, tmp_path).shape
    assert max(height, width) < 2200


def test_confusion_of_an_absent_class_does_not_divide_by_zero(tmp_path):
    drawn(figures.confusion(np.array([[2, 1], [0, 0]]), ["a", "b"]), tmp_path)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_image_grid_shows_grey_and_colour_of_either_type(channels, dtype, tmp_path):
    images = np.ones((5, 8, 8, channels), dtype) * (200 if dtype == "uint8" else 0.5)
    figure = figures.image_grid(images, list("abcde"))
    assert sum(len(axes.images) for axes in figure.axes) == 5
    drawn(figure, tmp_path)


def test_image_grid_is_even_so_that_pairs_stay_in_a_row():
    for count in (2, 6, 8, 16):
        figure = figures.image_grid(np.zeros((count, 4, 4, 1)))
        extents = [image.get_extent() for axes in figure.axes for image in axes.images]
        assert len(extents) == count
        for one, other in zip(extents[::2], extents[1::2], strict=True):
            (_, right, *height), (left, _, *other_height) = one, other
            assert height == other_height
            assert 0 < left - right < 0.1  # A gap, too narrow for a picture.


def test_worst_mistakes_say_what_was_said_and_what_is_true(tmp_path):
    images = np.zeros((2, 8, 8, 3), np.uint8)
    figure = figures.worst_mistakes(images, [0, 1], [1, 0], [0.99, 0.7], ["cat", "dog"])
    assert "dog 99%\ntrue: cat" in texts(figure)
    assert "cat 70%\ntrue: dog" in texts(figure)
    drawn(figure, tmp_path)


ROWS = [
    {"model": "lenet5", "params": 61_706, "test_accuracy": 0.65, "flops": 1e6},
    {"model": "mlp", "params": 300_000, "test_accuracy": 0.52, "flops": 6e5},
    {"model": "vgg16", "params": 15_000_000, "test_accuracy": 0.9, "flops": 6e8},
]


def test_pareto_front_leaves_out_what_is_dearer_and_worse():
    assert figures.pareto_front([1, 2, 3, 3], [0.9, 0.8, 0.95, 0.96]) == [0, 3]
    assert figures.pareto_front([], []) == []


@pytest.mark.parametrize("x", ["params", "flops", "train_seconds"])
def test_accuracy_against_names_the_points(x, tmp_path):
    figure = figures.accuracy_against(ROWS, x)
    drawn(figure, tmp_path)
    if x == "train_seconds":
        assert "no finished run" in texts(figure)
    else:
        assert {"lenet5", "mlp", "vgg16"} <= set(texts(figure).split("\n"))


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
    figure = figures.accuracy_against(rows)
    assert len(figure.axes[0].collections[0].get_offsets()) == 3
    drawn(figures.accuracy_against(rows[:1]), tmp_path)


def test_accuracy_against_stays_readable_with_many_equal_points(tmp_path):
    drawn(figures.accuracy_against(ROWS * 30), tmp_path)


def test_figures_need_neither_pyplot_nor_matplotlib_to_be_imported(root):
    code = "import kerasnn.analysis.figures as f, sys; print('matplotlib' in sys.modules); f.curves({});"
    code += "print('matplotlib.pyplot' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False"]
