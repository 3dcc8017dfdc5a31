"""ConvNeXt: a residual network brought up to date with what vision transformers taught.

Liu, Mao, Wu, Feichtenhofer, Darrell, Xie 2022, A ConvNet for the 2020s, CVPR, figures 2 and 4: patches for a stem, 7×7
depthwise convolutions, inverted bottlenecks, one activation and one normalization per block, layer scale, stochastic
depth.

Input `(224, 224, 3)` → `(num_classes,)` logits. Smallest legal input: 32×32 with the ImageNet stem of 4×4 patches,
16×16 with the small one of 2×2, which leaves pictures such as CIFAR's 16×16 places in the first stage and 2×2 in the
last; three halvings then bring the smallest to 1×1.

Deviations: none.

Count, in the table below: trainable weights at 224×224×3 and 1,000 classes, as in torchvision. Layer names are those of
Keras' published weights (`convnext_tiny_stage_0_block_0_depthwise_conv`) but for the last, `predictions`.
"""

from functools import partial
from typing import Literal

import keras
from keras import layers

from kerasnn.errors import ModelError, unknown
from kerasnn.layers.layer_scale import LayerScale
from kerasnn.layers.map_dropout import map_dropout
from kerasnn.models import heads, inputs
from kerasnn.ranges import Fraction, NonNegativeFloat, Positive

Variant = Literal["convnext_tiny"]

# variant: blocks and filters of the four stages, published count
CONVNEXT = {"convnext_tiny": ((3, 3, 9, 3), (96, 192, 384, 768), 28_589_128)}

PATCH = {"imagenet": 4, "small": 2}
SMALLEST = {"imagenet": 32, "small": 16}
LARGE = 64  # Sides from which `auto` takes the ImageNet stem.

# A config and no instance: an instance would draw the same kernel for every layer of one shape.
NORMAL = {"class_name": "TruncatedNormal", "config": {"stddev": 0.02}}

CONV = partial(layers.Conv2D, kernel_initializer=NORMAL)
DENSE = partial(layers.Dense, kernel_initializer=NORMAL)
NORM = partial(layers.LayerNormalization, epsilon=1e-6)


def convnext(
    variant: Variant,
    input_shape: tuple[int, int, int],
    num_classes: int,
    stem: Literal["auto", "imagenet", "small"] = "auto",
    dropout: Fraction = 0.0,
    stochastic_depth_rate: Fraction = 0.1,
    layer_scale: NonNegativeFloat = 1e-6,
    depths: tuple[Positive, Positive, Positive, Positive] | None = None,
    widths: tuple[Positive, Positive, Positive, Positive] | None = None,
    spatial_dropout: Fraction = 0.0,
    drop_block: Fraction = 0.0,
) -> keras.Model:
    """ConvNeXt: `(224, 224, 3)` → `(num_classes,)` logits.

    Args:
        variant: a row of the table: "convnext_tiny".
        input_shape: `(height, width, channels)`.
        num_classes: number of classes.
        stem: `imagenet` (4×4 patches), `small` (2×2), or `auto`: imagenet from 64×64 on, else small.
        dropout: share of the pooled features that is dropped in training.
        stochastic_depth_rate: how often the last block is left out in training; earlier ones proportionally less.
        layer_scale: the factor on each channel of each branch that training starts from.
        depths: blocks of the four stages; None takes the variant's.
        widths: filters of the four stages; None takes the variant's.
        spatial_dropout: share of the maps behind each stage that is dropped whole in training, see `map_dropout`.
        drop_block: share of each of these maps that is dropped in blocks.

    Raises:
        ModelError: no such variant, or the picture is too small for the stem.

    Example:
        >>> convnext("convnext_tiny", (224, 224, 3), 1000).count_params()
        28589128
    """
    if variant not in CONVNEXT:
        raise ModelError(unknown("variant of convnext", variant, CONVNEXT))
    own_depths, own_widths, _ = CONVNEXT[variant]
    depths, widths = depths or own_depths, widths or own_widths

    picture, stem = inputs.picture_and_stem(variant, input_shape, stem, SMALLEST, LARGE)
    x = CONV(widths[0], PATCH[stem], strides=PATCH[stem], name=f"{variant}_stem_conv")(picture)  # (B, 56, 56, 96)
    x = NORM(name=f"{variant}_stem_layernorm")(x)
    drop = map_dropout(spatial_dropout, drop_block)
    rates = (stochastic_depth_rate * place / max(1, sum(depths) - 1) for place in range(sum(depths)))
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        if stage:
            x = NORM(name=f"{variant}_downsampling_layernorm_{stage - 1}")(x)
            x = CONV(width, 2, strides=2, name=f"{variant}_downsampling_conv_{stage - 1}")(x)
        for block in range(depth):
            x = _block(x, layer_scale, next(rates), f"{variant}_stage_{stage}_block_{block}")
        x = drop(x, f"{variant}_stage_{stage}")
    # (B, 7, 7, 768)
    x = layers.GlobalAveragePooling2D(name=f"{variant}_head_gap")(x)
    x = NORM(name=f"{variant}_head_layernorm")(x)
    if dropout:
        x = layers.Dropout(dropout, name=f"{variant}_head_dropout")(x)
    return keras.Model(picture, heads.logits(x, num_classes, NORMAL), name=variant)


def _block(x, layer_scale: float, drop_rate: float, name: str):
    """Mix places channel by channel, then channels place by place through four times as many, and add the input."""
    shortcut, width = x, x.shape[-1]
    depthwise = partial(layers.DepthwiseConv2D, 7, padding="same", depthwise_initializer=NORMAL)
    x = NORM(name=f"{name}_layernorm")(depthwise(name=f"{name}_depthwise_conv")(x))
    x = DENSE(4 * width, name=f"{name}_pointwise_conv_1")(x)  # A dense layer is a 1×1 convolution.
    x = layers.Activation("gelu", name=f"{name}_gelu")(x)
    x = DENSE(width, name=f"{name}_pointwise_conv_2")(x)
    x = LayerScale(layer_scale, name=f"{name}_layer_scale")(x)
    if drop_rate:
        # One draw per example, not per number: the whole branch falls out.
        x = layers.Dropout(drop_rate, noise_shape=(None, 1, 1, 1), name=f"{name}_stochastic_depth")(x)
    return layers.Add(name=f"{name}_add")([x, shortcut])
