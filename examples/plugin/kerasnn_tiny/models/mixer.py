"""MLP-Mixer: a picture cut into patches, and nothing but dense layers, across the patches and across channels in turn.

Tolstikhin et al. 2021, MLP-Mixer: An all-MLP Architecture for Vision, NeurIPS, figure 1 and table 1. `mixer_s16` is the
table's S/16; `tiny_mixer` is the same network at a size for pictures of 32×32.

Input `(224, 224, 3)` → `(num_classes,)` logits; both sides multiples of the patch's, so the smallest is one patch. The
layers that mix patches have a weight per patch: a trained network takes pictures of one size only.

Deviation: dropout stands for the paper's stochastic depth, and both are off by default.

Count, in the table below: all weights, `mixer_s16` at 224×224×3 and 1,000 classes (the paper rounds to 18M),
`tiny_mixer` added up by hand at 32×32×3 and 10 classes.
"""

from functools import partial
from typing import Literal

import keras
from keras import layers
from kerasnn.errors import ModelError, unknown
from kerasnn.models import heads, inputs
from kerasnn.ranges import Even, Fraction, Positive

from kerasnn_tiny.layers.mix_patches import MixPatches

Variant = Literal["tiny_mixer", "mixer_s16"]

# variant: side of a patch, blocks, channels, count
MIXER = {
    "tiny_mixer": (4, 4, 64, 154_058),
    "mixer_s16": (16, 8, 512, 18_528_264),
}

_norm = partial(layers.LayerNormalization, epsilon=1e-6)


def mixer(
    variant: Variant,
    input_shape: tuple[int, int, int],
    num_classes: int,
    depth: Positive | None = None,
    width: Even | None = None,
    dropout: Fraction = 0.0,
) -> keras.Model:
    """MLP-Mixer: `(224, 224, 3)` → `(num_classes,)` logits.

    Args:
        variant: a row of the table, such as "mixer_s16".
        input_shape: `(height, width, channels)`, both sides multiples of the patch's.
        num_classes: number of classes.
        depth: number of blocks; None takes the row's.
        width: channels of each patch, an even number; None takes the row's.
        dropout: share of each hidden layer that is dropped in training.

    Raises:
        ModelError: no such variant, or the picture is not made of whole patches.

    Example:
        >>> mixer("mixer_s16", (224, 224, 3), 1000).count_params()
        18528264
    """
    if variant not in MIXER:
        raise ModelError(unknown("variant of mixer", variant, MIXER))
    patch, row_depth, row_width, _ = MIXER[variant]
    depth, width = depth or row_depth, width or row_width
    x = picture = inputs.picture(variant, input_shape, patch)
    _check_patches(variant, input_shape, patch)
    x = layers.Conv2D(width, patch, strides=patch, name="stem")(x)  # (B, H / patch, W / patch, width)
    x = layers.Reshape((-1, width), name="patches")(x)  # (B, patches, width)
    for block in range(1, depth + 1):
        x = _block(x, width, dropout, name=f"block{block}")
    x = layers.GlobalAveragePooling1D(name="pool")(_norm(name="norm")(x))  # (B, width)
    return keras.Model(picture, heads.logits(x, num_classes, "zeros"), name=variant)


def _block(x, width: int, dropout: float, name: str):
    """Mixes each channel over the patches, then each patch over the channels; both are added to what came in."""
    y = MixPatches(width // 2, dropout, name=f"{name}_patches")(_norm(name=f"{name}_norm1")(x))
    x = layers.Add(name=f"{name}_add1")([x, y])
    y = _mlp(_norm(name=f"{name}_norm2")(x), 4 * width, dropout, name=f"{name}_channels")
    return layers.Add(name=f"{name}_add2")([x, y])


def _mlp(x, units: int, dropout: float, name: str):
    """Two dense layers along the last axis, which keeps its length."""
    y = layers.Dense(units, activation="gelu", name=f"{name}_dense1")(x)
    if dropout:
        y = layers.Dropout(dropout, name=f"{name}_dropout")(y)
    return layers.Dense(x.shape[-1], name=f"{name}_dense2")(y)


def _check_patches(variant: str, input_shape: tuple[int, int, int], patch: int) -> None:
    height, width, _ = input_shape
    if height % patch or width % patch:
        fitting = -(-max(height, width) // patch) * patch
        raise ModelError(
            f"{variant}: the picture is {height}×{width}, its sides must be multiples of {patch}; "
            f"set data.image_size={fitting}"
        )
