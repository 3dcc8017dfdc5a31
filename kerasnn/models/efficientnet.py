"""EfficientNet: one small network, scaled up in width, depth and resolution together.

Tan, Le 2019, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML. Table 1 is
efficientnet_b0; equation 3 scales it to b1 … b7, by the factors that the authors' code rounds to. Each block is the
inverted bottleneck of MobileNetV2 (wide inside, narrow at its ends) with squeeze-and-excitation (Hu et al. 2018), and
is left out at random in training (stochastic depth, Huang et al. 2016), the later the more often.

Input `(224, 224, 3)` for b0, up to `(600, 600, 3)` for b7 → `(num_classes,)` logits. Smallest legal input: 32×32 with
the ImageNet stem, 16×16 with the small one, which takes the same 3×3 convolution at stride 1; halvings then bring both
to 1×1. Any size above is legal for any variant.

Deviations: none in the architecture; normalization averages with momentum 0.9 instead of 0.99, for shorter trainings.

Count, in the table below: trainable weights, 1,000 classes. Layer names are those of Keras' published weights:
`block2a_expand_conv`, `block2a_se_reduce`, `top_conv`, `predictions`.
"""

import math
from functools import partial
from typing import Literal

import keras
from keras import layers

from kerasnn.errors import ModelError, unknown
from kerasnn.layers.map_dropout import map_dropout
from kerasnn.models import heads, inputs
from kerasnn.models.rounding import round_filters
from kerasnn.ranges import Fraction, PositiveFloat

Variant = Literal[
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_b4",
    "efficientnet_b5",
    "efficientnet_b6",
    "efficientnet_b7",
]

# variant: width, depth, resolution, dropout, published count
EFFICIENTNET = {
    "efficientnet_b0": (1.0, 1.0, 224, 0.2, 5_288_548),
    "efficientnet_b1": (1.0, 1.1, 240, 0.2, 7_794_184),
    "efficientnet_b2": (1.1, 1.2, 260, 0.3, 9_109_994),
    "efficientnet_b3": (1.2, 1.4, 300, 0.3, 12_233_232),
    "efficientnet_b4": (1.4, 1.8, 380, 0.4, 19_341_616),
    "efficientnet_b5": (1.6, 2.2, 456, 0.4, 30_389_784),
    "efficientnet_b6": (1.8, 2.6, 528, 0.5, 43_040_704),
    "efficientnet_b7": (2.0, 3.1, 600, 0.5, 66_347_960),
}

# kernel, stride of the first block, expansion, filters, blocks: the stages of b0 between stem and top, table 1
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
STEM, TOP = 32, 1280  # Filters before and after the stages.

SMALLEST = {"imagenet": 32, "small": 16}
LARGE = 64  # Sides from which `auto` takes the ImageNet stem.

# A config and no instance: an instance would draw the same kernel for every layer of one shape.
FAN_OUT = {
    "class_name": "VarianceScaling",
    "config": {"scale": 2.0, "mode": "fan_out", "distribution": "truncated_normal"},
}
HEAD = {"class_name": "VarianceScaling", "config": {"scale": 1 / 3, "mode": "fan_out", "distribution": "uniform"}}

CONV = partial(layers.Conv2D, use_bias=False, kernel_initializer=FAN_OUT)


def efficientnet(
    variant: Variant,
    input_shape: tuple[int, int, int],
    num_classes: int,
    stem: Literal["auto", "imagenet", "small"] = "auto",
    dropout: Fraction | None = None,
    stochastic_depth_rate: Fraction = 0.2,
    width_multiplier: PositiveFloat | None = None,
    depth_multiplier: PositiveFloat | None = None,
    spatial_dropout: Fraction = 0.0,
    drop_block: Fraction = 0.0,
) -> keras.Model:
    """EfficientNet: `(224, 224, 3)` → `(num_classes,)` logits.

    Args:
        variant: a row of the table, such as "efficientnet_b0".
        input_shape: `(height, width, channels)`; the variant's own resolution is in the table.
        num_classes: number of classes.
        stem: `imagenet` (stride 2), `small` (stride 1), or `auto`: imagenet from 64×64 on, else small.
        dropout: share of the pooled features that is dropped in training; None takes the variant's.
        stochastic_depth_rate: how often the last block is left out in training; earlier ones proportionally less.
        width_multiplier: factor on the filters of every stage of b0; None takes the variant's.
        depth_multiplier: factor on the number of blocks of every stage of b0; None takes the variant's.
        spatial_dropout: share of the maps behind each stage that is dropped whole in training, see `map_dropout`.
        drop_block: share of each of these maps that is dropped in blocks.

    Raises:
        ModelError: no such variant, or the picture is too small for the stem.

    Example:
        >>> efficientnet("efficientnet_b0", (224, 224, 3), 1000).count_params()
        5330564
    """
    if variant not in EFFICIENTNET:
        raise ModelError(unknown("variant of efficientnet", variant, EFFICIENTNET))
    own_width, own_depth, _, own_dropout, _ = EFFICIENTNET[variant]
    width, depth = width_multiplier or own_width, depth_multiplier or own_depth
    repeats = [math.ceil(depth * blocks) for *_, blocks in STAGES]

    picture, stem = inputs.picture_and_stem(variant, input_shape, stem, SMALLEST, LARGE)
    stride = 2 if stem == "imagenet" else 1
    x = _conv(picture, round_filters(STEM * width), 3, stride=stride, name="stem_")  # (B, 112, 112, 32)
    drop = map_dropout(spatial_dropout, drop_block)
    rates = (stochastic_depth_rate * place / sum(repeats) for place in range(sum(repeats)))
    stages = zip(STAGES, repeats, strict=True)
    for stage, ((kernel, stride, expansion, filters, _), blocks) in enumerate(stages, start=1):
        for turn in range(blocks):
            step = stride if turn == 0 else 1
            name = f"block{stage}{chr(ord('a') + turn)}_"
            x = _block(x, round_filters(filters * width), kernel, step, expansion, next(rates), name)
        x = drop(x, f"block{stage}")
    x = _conv(x, round_filters(TOP * width), name="top_")  # (B, 7, 7, 1280)
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    dropout = own_dropout if dropout is None else dropout
    if dropout:
        x = layers.Dropout(dropout, name="top_dropout")(x)
    return keras.Model(picture, heads.logits(x, num_classes, HEAD), name=variant)


def _block(x, width: int, kernel: int, stride: int, expansion: int, drop_rate: float, name: str):
    """An inverted bottleneck: widen, filter each channel by itself, weigh the channels, narrow, add the input."""
    shortcut, narrow = x, x.shape[-1]
    if expansion > 1:
        x = _conv(x, narrow * expansion, name=f"{name}expand_")
    x, padding = _pad(x, kernel, stride, f"{name}dwconv_pad")
    depthwise = partial(layers.DepthwiseConv2D, use_bias=False, depthwise_initializer=FAN_OUT)
    x = _norm(depthwise(kernel, stride, padding, name=f"{name}dwconv")(x), name)
    x = _excite(x, max(1, narrow // 4), name)
    x = _conv(x, width, active=False, name=f"{name}project_")
    if stride > 1 or width != narrow:
        return x
    if drop_rate:
        # One draw per example, not per number: the whole branch falls out.
        x = layers.Dropout(drop_rate, noise_shape=(None, 1, 1, 1), name=f"{name}drop")(x)
    return layers.Add(name=f"{name}add")([x, shortcut])


def _excite(x, squeezed: int, name: str):
    """Squeeze-and-excitation: each channel is weighed by what the whole picture shows."""
    weight = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}se_squeeze")(x)  # (B, 1, 1, C)
    weight = CONV(squeezed, 1, use_bias=True, activation="silu", name=f"{name}se_reduce")(weight)
    weight = CONV(x.shape[-1], 1, use_bias=True, activation="sigmoid", name=f"{name}se_expand")(weight)
    return layers.Multiply(name=f"{name}se_excite")([x, weight])


def _conv(x, filters: int, kernel: int = 1, stride: int = 1, *, active: bool = True, name: str):
    """A convolution, normalized, and activated unless it ends a branch."""
    x, padding = _pad(x, kernel, stride, f"{name}conv_pad")
    return _norm(CONV(filters, kernel, stride, padding, name=f"{name}conv")(x), name, active)


def _norm(x, name: str, active: bool = True):
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name=f"{name}bn")(x)
    return layers.Activation("silu", name=f"{name}activation")(x) if active else x


def _pad(x, kernel: int, stride: int, name: str):
    """`x` and the padding that its convolution takes; at stride 2 zeros are added so that even sides halve exactly."""
    if stride == 1:
        return x, "same"
    _, height, width, _ = x.shape
    reach = kernel // 2
    before = [(reach - (side + 1) % 2, reach) for side in (height, width)]
    return layers.ZeroPadding2D(tuple(before), name=name)(x), "valid"
