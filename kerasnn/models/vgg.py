"""VGG: very deep stacks of 3×3 convolutions, with and without batch normalization.

Simonyan, Zisserman 2015, Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR, table 1: columns A
(vgg11), B (vgg13), D (vgg16) and E (vgg19). Batch normalization (Ioffe, Szegedy 2015) came after the paper; the `_bn`
variants put it between each convolution and its rectifier and keep the convolutions' biases, as torchvision does.

Input `(224, 224, 3)` → `(num_classes,)` logits; smallest legal input 32×32, which five halvings bring to 1×1.

Deviation: kernels start as `LooksLinear` draws them; the paper starts its deep columns from a trained vgg11. Seen with
vgg16 and Adam: at 1e-3 from he_normal all logits are equal after twenty steps of CIFAR-10, loss 2.303 for good; at 3e-4
on digits he_normal stands at 2.30 after forty steps of 16, `LooksLinear` at 1.5. At 1e-3 without warm-up both collapse.

Count, in the table below: trainable weights at 224×224×3 and 1,000 classes. Layer names are those of Keras' published
weights: `block3_conv2`, `fc1`, `predictions`.
"""

from functools import partial
from typing import Literal

import keras
from keras import layers

from kerasnn.errors import ModelError, unknown
from kerasnn.layers.looks_linear import LooksLinear
from kerasnn.layers.map_dropout import map_dropout
from kerasnn.models import heads, inputs
from kerasnn.ranges import Even, Fraction

Variant = Literal["vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"]

# variant: convolutions per block, batch normalization, published count
VGG = {
    "vgg11": ((1, 1, 2, 2, 2), False, 132_863_336),
    "vgg13": ((2, 2, 2, 2, 2), False, 133_047_848),
    "vgg16": ((2, 2, 3, 3, 3), False, 138_357_544),
    "vgg19": ((2, 2, 4, 4, 4), False, 143_667_240),
    "vgg11_bn": ((1, 1, 2, 2, 2), True, 132_868_840),
    "vgg13_bn": ((2, 2, 2, 2, 2), True, 133_053_736),
    "vgg16_bn": ((2, 2, 3, 3, 3), True, 138_365_992),
    "vgg19_bn": ((2, 2, 4, 4, 4), True, 143_678_248),
}

SMALLEST = 32


def vgg(
    variant: Variant,
    input_shape: tuple[int, int, int],
    num_classes: int,
    dropout: Fraction = 0.5,
    widths: tuple[Even, Even, Even, Even, Even] = (64, 128, 256, 512, 512),
    hidden_widths: tuple[Even, ...] = (4096, 4096),
    spatial_dropout: Fraction = 0.0,
    drop_block: Fraction = 0.0,
) -> keras.Model:
    """VGG: `(224, 224, 3)` → `(num_classes,)` logits.

    Args:
        variant: a row of the table, such as "vgg16".
        input_shape: `(height, width, channels)`, sides at least 32.
        num_classes: number of classes.
        dropout: share of each hidden dense layer that is dropped in training.
        widths: filters of the five blocks.
        hidden_widths: units of the hidden dense layers.
        spatial_dropout: share of the maps behind each block that is dropped whole in training, see `map_dropout`.
        drop_block: share of each of these maps that is dropped in blocks.

    Raises:
        ModelError: no such variant, or the picture is smaller than 32×32.

    Example:
        >>> vgg("vgg16", (224, 224, 3), 1000).count_params()
        138357544
    """
    if variant not in VGG:
        raise ModelError(unknown("variant of vgg", variant, VGG))
    depths, batch_norm, _ = VGG[variant]
    drop = map_dropout(spatial_dropout, drop_block)
    x = picture = inputs.picture(variant, input_shape, SMALLEST)
    for block, (depth, width) in enumerate(zip(depths, widths, strict=True), start=1):
        for number in range(1, depth + 1):
            x = _conv(x, width, batch_norm, first=x is picture, name=f"block{block}_conv{number}")
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)  # (B, H / 2^block, W / 2^block, width)
        x = drop(x, f"block{block}")
    return keras.Model(picture, heads.dense_head(x, hidden_widths, num_classes, dropout), name=variant)


def _conv(x, width: int, batch_norm: bool, first: bool, name: str):
    """A 3×3 convolution that keeps height and width, normalized or not, and a rectifier."""
    kernel = LooksLinear(mirror_inputs=not first)
    conv = partial(layers.Conv2D, width, 3, padding="same", kernel_initializer=kernel, name=name)
    if not batch_norm:
        return conv(activation="relu")(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(conv()(x))
    return layers.ReLU(name=f"{name}_relu")(x)
