"""Draws the pictures of lecture.md beside it: python docs/figures.py."""

from pathlib import Path

import numpy as np

from kerasnn.analysis.figures import BLUE, GREY, INK, ORANGE, image_grid
from kerasnn.augment.affine import Rotation, Translation, Zoom
from kerasnn.augment.image import Colour, Noise, Occlusion
from kerasnn.augment.policy import Policy
from kerasnn.augment.preview import augmented_grid
from kerasnn.data.bundle import make_bundle
from kerasnn.data.digits import digits

HERE = Path(__file__).parent

# Every kind that suits digits, a little stronger than in conf/augment so that eight small pictures show it.
KINDS = {
    "as they are": None,
    "translation": Translation(height=0.15, width=0.15),
    "rotation": Rotation(degrees=25.0),
    "zoom": Zoom(low=0.7, high=1.4),
    "colour": Colour(brightness=0.5, contrast=0.5),
    "noise": Noise(deviation=0.1),
    "occlusion": Occlusion(probability=1.0, low=0.05, high=0.25),
}

COLUMNS = 8
SEED = 16  # The first eight pictures of its first batch are eight different digits.


def activations():
    """Sigmoid, tanh and ReLU, each with its derivative."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    z = np.linspace(-4, 4, 801)
    sigmoid = 1 / (1 + np.exp(-z))
    step = np.where(z == 0, np.nan, (z > 0).astype(float))  # No slope at the corner: a gap, not a wall.
    curves = {
        "sigmoid": (sigmoid, sigmoid * (1 - sigmoid)),
        "tanh": (np.tanh(z), 1 - np.tanh(z) ** 2),
        "ReLU": (np.maximum(z, 0), step),
    }
    figure = Figure(figsize=(9, 2.8), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    for axes, (name, (value, slope)) in zip(figure.subplots(1, 3), curves.items(), strict=True):
        axes.axhline(0, color=GREY, linewidth=0.6)
        axes.axvline(0, color=GREY, linewidth=0.6)
        axes.plot(z, value, color=BLUE, linewidth=1.8, label="f(z)")
        axes.plot(z, slope, "--", color=ORANGE, linewidth=1.8, label="f′(z)")
        axes.set_title(name, loc="left", fontsize=11, color=INK, fontweight="bold")
        axes.set_xlabel("z", color=INK)
        axes.set_ylim(-1.2, 2.2)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK, labelsize=9)
        axes.legend(frameon=False, fontsize=9, loc="upper left")
    return figure


def augmentation():
    """Eight digits in columns; the first row as they are, each further row after one kind of augmentation."""
    bundle = make_bundle(digits(), image_size=32, resize="stretch")
    images, titles = [], []
    for name, op in KINDS.items():
        policy = Policy({} if op is None else {name: op})
        pairs, _ = augmented_grid(bundle, policy, seed=SEED, count=COLUMNS)
        images.append(pairs[:, 1])
        titles += [name, *[""] * (COLUMNS - 1)]
    return image_grid(np.concatenate(images), titles, columns=COLUMNS)


if __name__ == "__main__":
    activations().savefig(HERE / "activations.png", dpi=120)
    augmentation().savefig(HERE / "augmentation.png", dpi=75)
