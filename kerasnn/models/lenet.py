"""LeNet-5, as everyone writes it and as it was.

LeCun, Bottou, Bengio, Haffner 1998, Gradient-Based Learning Applied to Document Recognition, Proceedings of the IEEE
86(11), section II.B and figure 2; for `lenet5_1998` also table I and appendix A.

Input `(32, 32, 1)`, digits of 28×28 padded to 32×32, → `(num_classes,)` logits; smallest legal input 32×32, with any
number of channels.

| layer | `lenet5` | weights | `lenet5_1998` | weights |
| --- | --- | --- | --- | --- |
| C1 | 6 maps, 5×5 | 156 | the same | 156 |
| S2 | average 2×2 | 0 | coefficient and bias per map | 12 |
| C3 | 16 maps, 5×5, all to all | 2,416 | by table I | 1,516 |
| S4 | average 2×2 | 0 | coefficient and bias per map | 32 |
| C5 | 120 maps, 5×5 | 48,120 | the same | 48,120 |
| F6 | 84 units | 10,164 | the same | 10,164 |
| output | linear | 850 | distance to fixed codes | 0 |
| all | | 61,706 | | 60,000 |

Deviations: kernels start from LeCun's later rule, variance 1 / fan-in (Efficient BackProp, 1998), where the paper draws
uniformly within ±2.4 / fan-in, which fades the signal to a few hundredths before the output; the subsampling averages
(see `TrainableSubsampling`); training is whatever the run says, not the stochastic diagonal Levenberg–Marquardt.
"""

from functools import partial
from typing import Literal

import keras
from keras import layers

from kerasnn.layers.map_dropout import map_dropout
from kerasnn.layers.partial_conv import PartialConv2D
from kerasnn.layers.rbf_output import RBFOutput
from kerasnn.layers.scaled_tanh import ScaledTanh
from kerasnn.layers.trainable_subsampling import TrainableSubsampling
from kerasnn.models import heads, inputs
from kerasnn.ranges import Fraction

SMALLEST = 32  # 5×5 kernels and halvings: 32 → 28 → 14 → 10 → 5 → 1

# Table I: the six maps of S2 that each of the sixteen maps of C3 sees.
C3 = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)


def lenet5(
    input_shape: tuple[int, int, int],
    num_classes: int,
    activation: Literal["tanh", "relu", "sigmoid"] = "tanh",
    dropout: Fraction = 0.0,
    spatial_dropout: Fraction = 0.0,
    drop_block: Fraction = 0.0,
) -> keras.Model:
    """LeNet-5 with dense connections, plain averages and a linear output: `(32, 32, 1)` → `(num_classes,)` logits.

    Args:
        input_shape: `(height, width, channels)`, sides at least 32.
        num_classes: number of classes.
        activation: of every hidden unit.
        dropout: share of F6 that is dropped in training; the paper has none.
        spatial_dropout: share of the maps of S2 and S4 that is dropped whole, see `map_dropout`.
        drop_block: share of each of these maps that is dropped in blocks.

    Raises:
        ModelError: the picture is smaller than 32×32.

    Example:
        >>> lenet5((32, 32, 1), 10).count_params()
        61706
    """
    conv = partial(layers.Conv2D, kernel_size=5, activation=activation, kernel_initializer="lecun_normal")
    drop = map_dropout(spatial_dropout, drop_block)
    x = picture = inputs.picture("lenet5", input_shape, SMALLEST)
    x = conv(6, name="c1")(x)  # (B, 28, 28, 6)
    x = drop(layers.AveragePooling2D(2, name="s2")(x), "s2")  # (B, 14, 14, 6)
    x = conv(16, name="c3")(x)  # (B, 10, 10, 16)
    x = drop(layers.AveragePooling2D(2, name="s4")(x), "s4")  # (B, 5, 5, 16)
    x = conv(120, name="c5")(x)  # (B, 1, 1, 120)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(84, activation=activation, kernel_initializer="lecun_normal", name="f6")(x)
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    return keras.Model(picture, heads.logits(x, num_classes), name="lenet5")


def lenet5_1998(input_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    """LeNet-5 as published: `(32, 32, 1)` → `(num_classes,)` logits, each minus the distance to its class's code.

    Args:
        input_shape: `(height, width, channels)`, sides at least 32.
        num_classes: number of classes; ten get the paper's drawn digits as codes, see `RBFOutput`.

    Raises:
        ModelError: the picture is smaller than 32×32.

    Example:
        >>> lenet5_1998((32, 32, 1), 10).count_params()
        60000
    """
    conv = partial(layers.Conv2D, kernel_size=5, kernel_initializer="lecun_normal")
    x = picture = inputs.picture("lenet5_1998", input_shape, SMALLEST)
    x = ScaledTanh(name="c1_tanh")(conv(6, name="c1")(x))  # (B, 28, 28, 6)
    x = ScaledTanh(name="s2_tanh")(TrainableSubsampling(name="s2")(x))  # (B, 14, 14, 6)
    x = ScaledTanh(name="c3_tanh")(PartialConv2D(C3, kernel_size=5, name="c3")(x))  # (B, 10, 10, 16)
    x = ScaledTanh(name="s4_tanh")(TrainableSubsampling(name="s4")(x))  # (B, 5, 5, 16)
    x = ScaledTanh(name="c5_tanh")(conv(120, name="c5")(x))  # (B, 1, 1, 120)
    x = layers.Flatten(name="flatten")(x)
    x = ScaledTanh(name="f6_tanh")(layers.Dense(84, kernel_initializer="lecun_normal", name="f6")(x))  # (B, 84)
    return keras.Model(picture, RBFOutput(num_classes, dtype="float32", name="predictions")(x), name="lenet5_1998")
