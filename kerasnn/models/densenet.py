"""DenseNet: densely connected networks, in which each layer sees the maps of all layers before it.

Huang, Liu, van der Maaten, Weinberger 2017, Densely Connected Convolutional Networks, CVPR, table 1: DenseNet-BC, with
bottlenecks (B) and transitions that halve the channels (C).

Input `(224, 224, 3)` → `(num_classes,)` logits. Smallest legal input: 29×29 with the ImageNet stem, 8×8 with the small
one, which takes conv1 3×3 at stride 1 and leaves out the max pooling: the three transitions need 8×8 to halve.

Deviations: none known. The paper's networks for CIFAR have three blocks of equal depth, the small stem keeps the four.

Count: 7,978,856 trainable weights at 224×224×3 and 1,000 classes. Layer names are those of Keras' published weights:
`conv2_block1_1_conv`, `pool2_bn`, `predictions`.
"""

from functools import partial
from typing import Literal

import keras
from keras import layers

from kerasnn.errors import ModelError, unknown
from kerasnn.layers.map_dropout import map_dropout
from kerasnn.models import heads, inputs
from kerasnn.ranges import Fraction, Positive

Variant = Literal["densenet121"]

# variant: layers per block, published count
DENSENET = {"densenet121": ((6, 12, 24, 16), 7_978_856)}

SMALLEST = {"imagenet": 29, "small": 8}
LARGE = 64  # From this side on, `auto` means the ImageNet stem, which leaves 2×2 places to the last block.

_conv = partial(layers.Conv2D, use_bias=False, kernel_initializer="he_normal")
_norm = partial(layers.BatchNormalization, momentum=0.9, epsilon=1.001e-5)


def densenet(
    variant: Variant,
    input_shape: tuple[int, int, int],
    num_classes: int,
    stem: Literal["auto", "imagenet", "small"] = "auto",
    dropout: Fraction = 0.0,
    growth: Positive = 32,
    depths: tuple[Positive, Positive, Positive, Positive] | None = None,
    spatial_dropout: Fraction = 0.0,
    drop_block: Fraction = 0.0,
) -> keras.Model:
    """DenseNet-BC: `(224, 224, 3)` → `(num_classes,)` logits.

    Args:
        variant: a row of the table, such as "densenet121".
        input_shape: `(height, width, channels)`.
        num_classes: number of classes.
        stem: `imagenet` (7×7 at stride 2, pooled), `small` (3×3 at stride 1, not pooled), or `auto`: imagenet from
            64×64 on, else small.
        dropout: share of the averaged features that is dropped in training.
        growth: maps that each layer adds, the paper's k.
        depths: layers of the four blocks; None takes the variant's.
        spatial_dropout: share of the maps behind each block that is dropped whole in training, see `map_dropout`.
        drop_block: share of each of these maps that is dropped in blocks.

    Raises:
        ModelError: no such variant, or the picture is too small for the stem.

    Example:
        >>> densenet("densenet121", (224, 224, 3), 1000).count_params()      # with batch normalization's statistics
        8062504
    """
    if variant not in DENSENET:
        raise ModelError(unknown("variant of densenet", variant, DENSENET))
    published_depths, _ = DENSENET[variant]
    picture, stem = inputs.picture_and_stem(variant, input_shape, stem, SMALLEST, LARGE)
    drop = map_dropout(spatial_dropout, drop_block)
    x = _stem(picture, stem, 2 * growth)  # (B, 56, 56, 64)
    for block, depth in enumerate(depths or published_depths, start=2):
        if block > 2:
            x = _transition(x, name=f"pool{block - 1}")  # (B, H / 2, W / 2, channels / 2)
        for layer in range(1, depth + 1):
            x = _dense_layer(x, growth, name=f"conv{block}_block{layer}")  # channels + growth
        x = drop(x, f"conv{block}")
    x = layers.ReLU(name="relu")(_norm(name="bn")(x))  # (B, 7, 7, 1024)
    return keras.Model(picture, heads.pooled_head(x, num_classes, dropout), name=variant)


def _stem(x, stem: str, filters: int):
    """The first convolution, of twice the growth; for large pictures strided and pooled."""
    if stem == "imagenet":
        x = layers.ZeroPadding2D(3, name="conv1_pad")(x)
        x = _conv(filters, 7, strides=2, name="conv1_conv")(x)  # (B, 112, 112, 64)
    else:
        x = _conv(filters, 3, padding="same", name="conv1_conv")(x)
    x = layers.ReLU(name="conv1_relu")(_norm(name="conv1_bn")(x))
    if stem == "imagenet":
        x = layers.ZeroPadding2D(1, name="pool1_pad")(x)  # Zeros never win: the rectifier left nothing below.
        x = layers.MaxPooling2D(3, strides=2, name="pool1")(x)  # (B, 56, 56, 64)
    return x


def _dense_layer(x, growth: int, name: str):
    """`growth` new maps from all maps so far, through a bottleneck of four times as many, put behind them."""
    new = layers.ReLU(name=f"{name}_0_relu")(_norm(name=f"{name}_0_bn")(x))
    new = _conv(4 * growth, 1, name=f"{name}_1_conv")(new)
    new = layers.ReLU(name=f"{name}_1_relu")(_norm(name=f"{name}_1_bn")(new))
    new = _conv(growth, 3, padding="same", name=f"{name}_2_conv")(new)
    return layers.Concatenate(name=f"{name}_concat")([x, new])


def _transition(x, name: str):
    """Between two blocks: half the channels, at half the height and width."""
    x = layers.ReLU(name=f"{name}_relu")(_norm(name=f"{name}_bn")(x))
    x = _conv(x.shape[-1] // 2, 1, name=f"{name}_conv")(x)
    return layers.AveragePooling2D(2, name=f"{name}_pool")(x)
