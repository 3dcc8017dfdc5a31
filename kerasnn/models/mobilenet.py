"""MobileNetV2: inverted residuals with linear bottlenecks, for small devices.

Sandler, Howard, Zhu, Zhmoginov, Chen 2018, MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR, table 2.

Input `(224, 224, 3)` → `(num_classes,)` logits. Smallest legal input: 32×32 with the ImageNet stem, 8×8 with the small
one: the halvings bring it to one place. The small stem, for pictures such as CIFAR's, takes stride 1 in the first
convolution and in the stage of 24 filters: three halvings instead of five.

Deviations: the last layer is dense on the averaged features, where the table has a 1×1 convolution: the same sum.
Dropout of 0.2 is the authors' code's and torchvision's; the paper does not mention any. Keras' published models pad
strided windows by a layer, which comes to "same". Kernels start small, as Keras draws them by default: Adam at 3e-4
hardly moves those of He's variance by fan-out, torchvision's choice. Seen with 1,280 digits, twelve epochs, one seed,
width 0.35: 0.38 of unseen digits right with these, 0.62 with Keras', 0.63 with the authors' deviation of 0.09.

Count: 3,504,872 trainable weights at width 1, 224×224×3 and 1,000 classes. Layer names are those of Keras' published
weights: `Conv1`, `bn_Conv1`, `expanded_conv_depthwise`, `block_1_expand`, `Conv_1`, `predictions`.
"""

from functools import partial
from typing import Literal

import keras
from keras import layers

from kerasnn.layers.map_dropout import map_dropout
from kerasnn.models import heads, inputs
from kerasnn.models.rounding import round_filters
from kerasnn.ranges import Fraction, Positive, PositiveFloat

# Table 2, by stage: expansion t, filters c, blocks n, stride s of the first block.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)

SMALLEST = {"imagenet": 32, "small": 8}
LARGE = 64  # From this side on, `auto` means the ImageNet stem, which leaves 2×2 places to the last stage.

_conv = partial(layers.Conv2D, padding="same", use_bias=False)
_norm = partial(layers.BatchNormalization, momentum=0.9, epsilon=1e-3)
_relu6 = partial(layers.ReLU, 6.0)


def mobilenet_v2(
    input_shape: tuple[int, int, int],
    num_classes: int,
    width_multiplier: PositiveFloat = 1.0,
    stem: Literal["auto", "imagenet", "small"] = "auto",
    dropout: Fraction = 0.2,
    stochastic_depth_rate: Fraction = 0.0,
    depths: tuple[Positive, Positive, Positive, Positive, Positive, Positive, Positive] | None = None,
    spatial_dropout: Fraction = 0.0,
    drop_block: Fraction = 0.0,
) -> keras.Model:
    """MobileNetV2: `(224, 224, 3)` → `(num_classes,)` logits.

    Args:
        input_shape: `(height, width, channels)`.
        num_classes: number of classes.
        width_multiplier: factor on the filters; the published ones are 0.35, 0.5, 0.75, 1, 1.3 and 1.4.
        stem: `imagenet` (all strides of table 2), `small` (stride 1 at the first two of them), or `auto`: imagenet
            from 64×64 on, else small.
        dropout: share of the averaged features that is dropped in training.
        stochastic_depth_rate: how often the last block is left out in training; earlier ones proportionally less.
        depths: blocks of the seven stages; None takes those of table 2.
        spatial_dropout: share of the maps behind each stage that is dropped whole in training, see `map_dropout`.
        drop_block: share of each of these maps that is dropped in blocks.

    Raises:
        ModelError: the picture is too small for the stem.

    Example:
        >>> mobilenet_v2((224, 224, 3), 1000).count_params()      # with batch normalization's statistics
        3538984
    """
    picture, stem = inputs.picture_and_stem("mobilenet_v2", input_shape, stem, SMALLEST, LARGE)
    x = _conv(round_filters(32 * width_multiplier), 3, strides=2 if stem == "imagenet" else 1, name="Conv1")(picture)
    x = _relu6(name="Conv1_relu")(_norm(name="bn_Conv1")(x))  # (B, 112, 112, 32)
    drop = map_dropout(spatial_dropout, drop_block)
    depths = depths or [depth for _, _, depth, _ in STAGES]
    rates = [stochastic_depth_rate * place / max(1, sum(depths) - 1) for place in range(sum(depths))]
    number = 0
    for stage, (expansion, filters, _, strides) in enumerate(STAGES):
        entry = 1 if stem == "small" and stage == 1 else strides
        for block in range(depths[stage]):
            step = entry if block == 0 else 1
            x = _inverted_residual(x, expansion, _filters(filters, width_multiplier), step, number, rates[number])
            number += 1
        x = drop(x, f"stage{stage + 1}")
    x = _conv(round_filters(1280 * max(width_multiplier, 1.0)), 1, name="Conv_1")(x)  # Never narrower: section 4.
    x = _relu6(name="out_relu")(_norm(name="Conv_1_bn")(x))  # (B, 7, 7, 1280)
    return keras.Model(picture, heads.pooled_head(x, num_classes, dropout), name="mobilenet_v2")


def block_filters(width_multiplier: float) -> tuple[int, ...]:
    """Filters that each block of table 2 ends in at this width.

    Example:
        >>> block_filters(0.35)
        (8, 8, 8, 16, 16, 16, 24, 24, 24, 24, 32, 32, 32, 56, 56, 56, 112)
    """
    return tuple(_filters(filters, width_multiplier) for _, filters, depth, _ in STAGES for _ in range(depth))


def _inverted_residual(x, expansion: int, filters: int, strides: int, number: int, drop_rate: float):
    """Widen, look at each map by itself, narrow without a rectifier; added to the input where the shapes are equal."""
    name = f"block_{number}" if number else "expanded_conv"
    channels = x.shape[-1]
    y = x
    if expansion > 1:
        y = _conv(expansion * channels, 1, name=f"{name}_expand")(y)
        y = _relu6(name=f"{name}_expand_relu")(_norm(name=f"{name}_expand_BN")(y))
    y = layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False, name=f"{name}_depthwise")(y)
    y = _relu6(name=f"{name}_depthwise_relu")(_norm(name=f"{name}_depthwise_BN")(y))
    y = _conv(filters, 1, name=f"{name}_project")(y)
    y = _norm(name=f"{name}_project_BN")(y)
    if strides == 1 and channels == filters:
        if drop_rate:
            # One draw per example, not per number: the whole branch falls out.
            y = layers.Dropout(drop_rate, noise_shape=(None, 1, 1, 1), name=f"{name}_stochastic_depth")(y)
        y = layers.Add(name=f"{name}_add")([x, y])
    return y


def _filters(filters: int, width_multiplier: float) -> int:
    """Filters of a stage: cut to a whole number before they are rounded, as in the published models."""
    return round_filters(int(filters * width_multiplier))
