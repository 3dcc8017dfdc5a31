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


def test_curves_mark_the_average_where_that_was_kept():
    history = {**HISTORY, "val/ema_loss": [2.2, 1.1, 0.9], "val/ema_accuracy": [0.2, 0.75, 0.8]}
    figure = figures.curves(history, best_epoch=3, best_is_average=True)
    assert "80.00% at the best epoch, 3" in texts(figure)
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["training", "validation", "validation, average"]


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


def test_rate_range_marks_the_suggestion_and_cuts_off_what_left():
    rates, losses = np.logspace(-4, 0, 5), np.array([2.0, 1.9, 1.0, 1.2, 90.0])
    axes = figures.rate_range(rates, losses, losses, suggestion=0.01).axes[0]
    assert axes.get_xscale() == "log"
    assert [list(line.get_xdata()) for line in axes.lines[:2]] == [list(rates)] * 2
    assert list(axes.lines[2].get_xdata()) == [0.01, 0.01]
    # Half as much again as the loss at the start, 2: beyond it the curve would be flat but for its end.
    assert axes.get_ylim()[1] == 3.0


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


def test_figures_need_neither_pyplot_nor_matplotlib_to_be_imported(root):
    code = "import kerasnn.analysis.figures as f, sys; print('matplotlib' in sys.modules); f.curves({});"
    code += "print('matplotlib.pyplot' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False"]
