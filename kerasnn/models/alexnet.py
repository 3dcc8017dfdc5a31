"""AlexNet: the network that won ImageNet in 2012.

Krizhevsky, Sutskever, Hinton 2012, ImageNet Classification with Deep Convolutional Neural Networks, section 3.5 and
figure 2. The paper's two towers, one per GPU, are two groups in conv2, conv4 and conv5.

Input `(227, 227, 3)` → `(num_classes,)` logits. (The paper says 224, with which its own sizes do not come out.)
Smallest legal input: 67×67 with the ImageNet stem, 15×15 with the small one, which keeps the 96 filters but takes them
5×5 at stride 1, for pictures such as CIFAR's.

Deviations: kernels start as `LooksLinear` draws them and biases at 0, where the paper draws kernels from a normal of
deviation 0.01, starts some biases at 1, and lowers the learning rate by hand.

Count: 60,965,224 for 227×227×3 and 1,000 classes, all trainable: 34,944 + 307,456 + 885,120 + 663,936 + 442,624 in the
convolutions, 37,752,832 + 16,781,312 + 4,097,000 in the dense layers.
"""

from functools import partial
from typing import Literal

import keras
from keras import layers

from kerasnn.layers.local_response_normalization import LocalResponseNormalization
from kerasnn.layers.looks_linear import LooksLinear
from kerasnn.layers.map_dropout import map_dropout
from kerasnn.models import heads, inputs
from kerasnn.ranges import Even, Fraction

SMALLEST = {"imagenet": 67, "small": 15}


def alexnet(
    input_shape: tuple[int, int, int],
    num_classes: int,
    stem: Literal["auto", "imagenet", "small"] = "auto",
    dropout: Fraction = 0.5,
    widths: tuple[Even, Even, Even, Even, Even] = (96, 256, 384, 384, 256),
    hidden_widths: tuple[Even, ...] = (4096, 4096),
    spatial_dropout: Fraction = 0.0,
    drop_block: Fraction = 0.0,
) -> keras.Model:
    """AlexNet: `(227, 227, 3)` → `(num_classes,)` logits.

    Args:
        input_shape: `(height, width, channels)`.
        num_classes: number of classes.
        stem: `imagenet` (11×11 at stride 4), `small` (5×5 at stride 1), or `auto`: imagenet from 67×67 on, else small.
        dropout: share of each hidden dense layer that is dropped in training.
        widths: filters of conv1 to conv5, even numbers.
        hidden_widths: units of the hidden dense layers.
        spatial_dropout: share of the maps behind each pooling that is dropped whole in training, see `map_dropout`.
        drop_block: share of each of these maps that is dropped in blocks.

    Raises:
        ModelError: the picture is too small for the stem.

    Example:
        >>> alexnet((227, 227, 3), 1000).count_params()
        60965224
    """
    conv = partial(layers.Conv2D, padding="same", activation="relu", kernel_initializer=LooksLinear())
    conv1 = partial(conv, widths[0], kernel_initializer=LooksLinear(mirror_inputs=False), name="conv1")
    pool = partial(layers.MaxPooling2D, 3, strides=2)  # Windows of 3 at stride 2 overlap.
    drop = map_dropout(spatial_dropout, drop_block)

    picture, stem = inputs.picture_and_stem("alexnet", input_shape, stem, SMALLEST)
    x = (conv1(11, strides=4, padding="valid") if stem == "imagenet" else conv1(5))(picture)  # (B, 55, 55, 96)
    x = LocalResponseNormalization(name="norm1")(x)
    x = drop(pool(name="pool1")(x), "pool1")  # (B, 27, 27, 96)
    x = conv(widths[1], 5, groups=2, name="conv2")(x)  # (B, 27, 27, 256)
    x = LocalResponseNormalization(name="norm2")(x)
    x = drop(pool(name="pool2")(x), "pool2")  # (B, 13, 13, 256)
    x = conv(widths[2], 3, name="conv3")(x)  # (B, 13, 13, 384)
    x = conv(widths[3], 3, groups=2, name="conv4")(x)  # (B, 13, 13, 384)
    x = conv(widths[4], 3, groups=2, name="conv5")(x)  # (B, 13, 13, 256)
    x = drop(pool(name="pool5")(x), "pool5")  # (B, 6, 6, 256)
    return keras.Model(picture, heads.dense_head(x, hidden_widths, num_classes, dropout), name="alexnet")
