"""ResNet: residual networks, whose layers learn what to add to their input.

He, Zhang, Ren, Sun 2016, Deep Residual Learning for Image Recognition, CVPR. `resnet` builds table 1, for ImageNet;
`resnet_cifar` the networks of section 4.2, for 32×32: 6n + 2 layers, three stages of 16, 32 and 64 filters, and
shortcuts without parameters (option A).

Input `(224, 224, 3)` or `(32, 32, 3)` → `(num_classes,)` logits. Smallest legal input: 32×32 with the ImageNet stem,
8×8 with the small one, 4×4 for `resnet_cifar`: the halvings bring it to one place. The small stem, for pictures such as
CIFAR's, takes conv1 3×3 at stride 1 and leaves out the max pooling: three halvings instead of five.

Deviations: none known. A stage of bottlenecks is entered at stride 2 on the first 1×1, as in the paper and in Keras'
published weights; torchvision has it on the 3×3 ("v1.5"), with the same count. Strided windows are padded alike on both
sides. Keras' convolutions have biases in front of the batch normalization, which takes off whatever they add: here
there are none, and a published bias belongs into the moving mean, mean - bias.

Count, in the tables below: trainable weights at 224×224×3 and 1,000 classes, or 32×32×3 and 10. The paper gives the
latter as 0.27, 0.46, 0.66, 0.85 and 1.7 million. Layer names are those of Keras' published weights:
`conv2_block1_1_conv`, `predictions`.
"""

from collections.abc import Callable
from typing import Literal

import keras
from keras import layers

from kerasnn.errors import ModelError, unknown
from kerasnn.layers.map_dropout import map_dropout
from kerasnn.layers.padded_identity import PaddedIdentity
from kerasnn.models import heads, inputs
from kerasnn.ranges import Fraction, Positive

Variant = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
CifarVariant = Literal["resnet20", "resnet32", "resnet44", "resnet56", "resnet110"]

# variant: bottlenecks, blocks per stage, published count
RESNET = {
    "resnet18": (False, (2, 2, 2, 2), 11_689_512),
    "resnet34": (False, (3, 4, 6, 3), 21_797_672),
    "resnet50": (True, (3, 4, 6, 3), 25_557_032),
    "resnet101": (True, (3, 4, 23, 3), 44_549_160),
    "resnet152": (True, (3, 8, 36, 3), 60_192_808),
}

# variant: blocks in each of the three stages, count
RESNET_CIFAR = {
    "resnet20": (3, 269_722),
    "resnet32": (5, 464_154),
    "resnet44": (7, 658_586),
    "resnet56": (9, 853_018),
    "resnet110": (18, 1_727_962),
}

SMALLEST = {"imagenet": 32, "small": 8}
SMALLEST_CIFAR = 4
LARGE = 64  # From this side on, `auto` means the ImageNet stem, which leaves 2×2 places to the last stage.


def resnet(
    variant: Variant,
    input_shape: tuple[int, int, int],
    num_classes: int,
    stem: Literal["auto", "imagenet", "small"] = "auto",
    dropout: Fraction = 0.0,
    stochastic_depth_rate: Fraction = 0.0,
    depths: tuple[Positive, Positive, Positive, Positive] | None = None,
    widths: tuple[Positive, Positive, Positive, Positive] = (64, 128, 256, 512),
    spatial_dropout: Fraction = 0.0,
    drop_block: Fraction = 0.0,
) -> keras.Model:
    """A ResNet of table 1: `(224, 224, 3)` → `(num_classes,)` logits.

    Args:
        variant: a row of the table, such as "resnet50".
        input_shape: `(height, width, channels)`.
        num_classes: number of classes.
        stem: `imagenet` (7×7 at stride 2, pooled), `small` (3×3 at stride 1, not pooled), or `auto`: imagenet from
            64×64 on, else small.
        dropout: share of the averaged features that is dropped in training.
        stochastic_depth_rate: how often the last block is left out in training; earlier ones proportionally less.
        depths: blocks of the four stages; None takes the variant's.
        widths: filters of the four stages; a bottleneck gives out four times as many.
        spatial_dropout: share of the maps behind each stage that is dropped whole in training, see `map_dropout`.
        drop_block: share of each of these maps that is dropped in blocks.

    Raises:
        ModelError: no such variant, or the picture is too small for the stem.

    Example:
        >>> resnet("resnet18", (224, 224, 3), 1000).name
        'resnet18'
    """
    if variant not in RESNET:
        raise ModelError(unknown("variant of resnet", variant, RESNET))
    bottlenecks, published_depths, _ = RESNET[variant]
    picture, stem = inputs.picture_and_stem(variant, input_shape, stem, SMALLEST, LARGE)
    if stem == "imagenet":
        x = _conv_bn(picture, widths[0], 7, "conv1", strides=2)  # (B, 112, 112, 64)
    else:
        x = _conv_bn(picture, widths[0], 3, "conv1")
    x = layers.ReLU(name="conv1_relu")(x)
    if stem == "imagenet":
        x = layers.ZeroPadding2D(1, name="pool1_pad")(x)  # Zeros never win: the rectifier left nothing below.
        x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)  # (B, 56, 56, 64)
    branch = _bottleneck if bottlenecks else _basic
    depths, drop = depths or published_depths, map_dropout(spatial_dropout, drop_block)
    x = _stages(x, branch, depths, widths, _projection, stochastic_depth_rate, drop)  # (B, 7, 7, 512 or 2048)
    return keras.Model(picture, heads.pooled_head(x, num_classes, dropout), name=variant)


def resnet_cifar(
    variant: CifarVariant,
    input_shape: tuple[int, int, int],
    num_classes: int,
    dropout: Fraction = 0.0,
    stochastic_depth_rate: Fraction = 0.0,
    depth: Positive | None = None,
    widths: tuple[Positive, Positive, Positive] = (16, 32, 64),
    spatial_dropout: Fraction = 0.0,
    drop_block: Fraction = 0.0,
) -> keras.Model:
    """A ResNet of section 4.2: `(32, 32, 3)` → `(num_classes,)` logits.

    Args:
        variant: a row of the table, such as "resnet20".
        input_shape: `(height, width, channels)`, sides at least 4.
        num_classes: number of classes.
        dropout: share of the averaged features that is dropped in training.
        stochastic_depth_rate: how often the last block is left out in training; earlier ones proportionally less.
        depth: blocks in each stage, the paper's n; None takes the variant's.
        widths: filters of the three stages, none fewer than the one before.
        spatial_dropout: share of the maps behind each stage that is dropped whole in training, see `map_dropout`.
        drop_block: share of each of these maps that is dropped in blocks.

    Raises:
        ModelError: no such variant, or the picture is smaller than 4×4.

    Example:
        >>> resnet_cifar("resnet20", (32, 32, 3), 10).name
        'resnet20'
    """
    if variant not in RESNET_CIFAR:
        raise ModelError(unknown("variant of resnet_cifar", variant, RESNET_CIFAR))
    picture = inputs.picture(variant, input_shape, SMALLEST_CIFAR)
    x = _conv_bn(picture, widths[0], 3, "conv1")  # (B, 32, 32, 16)
    x = layers.ReLU(name="conv1_relu")(x)
    depths, drop = [depth or RESNET_CIFAR[variant][0]] * 3, map_dropout(spatial_dropout, drop_block)
    x = _stages(x, _basic, depths, widths, _padded_identity, stochastic_depth_rate, drop)  # (B, 8, 8, 64)
    return keras.Model(picture, heads.pooled_head(x, num_classes, dropout), name=variant)


def _stages(x, branch: Callable, depths, widths, shortcut: Callable, drop_rate: float, drop: Callable):
    """Stages `conv2`, `conv3`, …: the first block of each but the first halves height and width."""
    rates = (drop_rate * place / max(1, sum(depths) - 1) for place in range(sum(depths)))
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True), start=2):
        for block in range(1, depth + 1):
            strides = 2 if stage > 2 and block == 1 else 1
            x = _residual(x, branch, width, strides, shortcut, next(rates), name=f"conv{stage}_block{block}")
        x = drop(x, f"conv{stage}")
    return x


def _residual(x, branch: Callable, width: int, strides: int, shortcut: Callable, drop_rate: float, name: str):
    """relu(shortcut(x) + branch(x)); the shortcut is x itself wherever the shapes are equal."""
    filters = 4 * width if branch is _bottleneck else width
    same = strides == 1 and x.shape[-1] == filters
    skipped = x if same else shortcut(x, filters, strides, f"{name}_0")
    x = branch(x, width, strides, name)
    if drop_rate:
        # One draw per example, not per number: the whole branch falls out.
        x = layers.Dropout(drop_rate, noise_shape=(None, 1, 1, 1), name=f"{name}_stochastic_depth")(x)
    x = layers.Add(name=f"{name}_add")([skipped, x])
    return layers.ReLU(name=f"{name}_out")(x)


def _basic(x, width: int, strides: int, name: str):
    """Figure 5, left: two 3×3 convolutions, the first one strided."""
    x = _conv_bn(x, width, 3, f"{name}_1", strides)
    x = layers.ReLU(name=f"{name}_1_relu")(x)
    return _conv_bn(x, width, 3, f"{name}_2")


def _bottleneck(x, width: int, strides: int, name: str):
    """Figure 5, right: 1×1 (strided), 3×3, and 1×1 to four times the filters."""
    x = _conv_bn(x, width, 1, f"{name}_1", strides)
    x = layers.ReLU(name=f"{name}_1_relu")(x)
    x = _conv_bn(x, width, 3, f"{name}_2")
    x = layers.ReLU(name=f"{name}_2_relu")(x)
    return _conv_bn(x, 4 * width, 1, f"{name}_3")


def _projection(x, filters: int, strides: int, name: str):
    """Option B: a 1×1 convolution where the shapes differ."""
    return _conv_bn(x, filters, 1, name, strides)


def _padded_identity(x, filters: int, strides: int, name: str):
    """Option A: the input thinned out and padded with zero channels."""
    return PaddedIdentity(filters, strides, name=f"{name}_identity")(x)


def _conv_bn(x, filters: int, kernel_size: int, name: str, strides: int = 1):
    """A convolution and its batch normalization."""
    # Half a window on each side, strided or not: "same" would put a strided one off centre, away from the shortcut.
    if strides > 1 and kernel_size > 1:
        x = layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
    conv = layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="valid" if strides > 1 else "same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )
    return layers.BatchNormalization(momentum=0.9, epsilon=1.001e-5, name=f"{name}_bn")(conv(x))
