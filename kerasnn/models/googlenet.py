"""GoogLeNet: inception modules, which look at each place through windows of several sizes at once.

Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich 2015, Going Deeper with Convolutions, CVPR
(2014 on arXiv; also called Inception v1), table 1 and figure 3; two auxiliary classifiers for training, section 5.
No batch normalization: that came with the next Inception.

Input `(224, 224, 3)` → `(num_classes,)` logits. Smallest legal input: 65×65 with the ImageNet stem, 17×17 with the
small one, which takes conv1 3×3 at stride 1 and leaves out pool1: the auxiliary classifiers average windows of 5×5
where the picture has been halved four times, or twice. The same bounds hold without them.

Deviations: kernels start as `LooksLinear` draws them (concatenation keeps its pairs together) and the last ones near
zero; the paper does not say how its own start. Figure 3 has the two response normalizations, whose constants the paper
leaves open: here AlexNet's.

Count: 6,998,552 for 224×224×3 and 1,000 classes, all trainable; 13,378,280 with the auxiliary classifiers, which
`main_network` leaves behind. Layer names are those of the Caffe model, with `_` for `/`: `inception_3a_3x3_reduce`.
"""

from functools import partial
from typing import Literal

import keras
from keras import initializers, layers

from kerasnn.layers.local_response_normalization import LocalResponseNormalization
from kerasnn.layers.looks_linear import LooksLinear
from kerasnn.layers.map_dropout import map_dropout
from kerasnn.models import heads, inputs
from kerasnn.ranges import Fraction, PositiveFloat

# Table 1, filters by module: 1×1, 3×3 reduce, 3×3, 5×5 reduce, 5×5, pool projection.
INCEPTION = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
POOLED = {"4a": "pool3", "5a": "pool4"}  # A halving in front of these.
LAST = ("3b", "4e", "5b")  # The last modules before each halving, and of all.
AUXILIARY = {"4a": "auxiliary1", "4d": "auxiliary2"}  # A classifier on the output of these.

SMALLEST = {"imagenet": 65, "small": 17}

_conv = partial(layers.Conv2D, padding="same", activation="relu", kernel_initializer=LooksLinear())
_halve = partial(layers.MaxPooling2D, 3, strides=2, padding="same")


def googlenet(
    input_shape: tuple[int, int, int],
    num_classes: int,
    auxiliary: bool = True,
    stem: Literal["auto", "imagenet", "small"] = "auto",
    dropout: Fraction = 0.4,
    width_multiplier: PositiveFloat = 1.0,
    spatial_dropout: Fraction = 0.0,
    drop_block: Fraction = 0.0,
) -> keras.Model:
    """GoogLeNet: `(224, 224, 3)` → `(num_classes,)` logits.

    Args:
        input_shape: `(height, width, channels)`.
        num_classes: number of classes.
        auxiliary: train with the two auxiliary classifiers, in a `heads.WithAuxiliary`.
        stem: `imagenet` (7×7 at stride 2, pooled), `small` (3×3 at stride 1, not pooled), or `auto`: imagenet from
            65×65 on, else small.
        dropout: share of the averaged features that is dropped in training; the auxiliary classifiers drop 0.7.
        width_multiplier: what each layer's number of filters is multiplied by, rounded to an even number.
        spatial_dropout: share of the maps behind modules 3b, 4e and 5b that is dropped whole, see `map_dropout`.
        drop_block: share of each of these maps that is dropped in blocks.

    Raises:
        ModelError: the picture is too small for the stem.

    Example:
        >>> googlenet((224, 224, 3), 1000, auxiliary=False).count_params()
        6998552
    """
    width = partial(_even, width_multiplier)
    drop = map_dropout(spatial_dropout, drop_block)
    picture, stem = inputs.picture_and_stem("googlenet", input_shape, stem, SMALLEST)
    x = _stem(picture, stem, width)
    extra = []
    for module, widths in INCEPTION.items():
        if module in POOLED:
            x = _halve(name=POOLED[module])(x)  # before 4a (B, 14, 14, 480), before 5a (B, 7, 7, 832)
        x = _inception(x, [width(filters) for filters in widths], name=f"inception_{module}")
        if module in LAST:
            x = drop(x, f"inception_{module}")
        if auxiliary and module in AUXILIARY:
            extra.append(_auxiliary(x, num_classes, width, AUXILIARY[module]))
    main = heads.pooled_head(x, num_classes, dropout, _near_zero())
    if auxiliary:
        return heads.WithAuxiliary(picture, [main, *extra], name="googlenet")
    return keras.Model(picture, main, name="googlenet")


def _stem(x, stem: str, width):
    """What comes before the first inception module: a picture to 192 maps at an eighth of its size, or at a half."""
    first = partial(_conv, width(64), kernel_initializer=LooksLinear(mirror_inputs=False), name="conv1")
    if stem == "imagenet":
        x = first(7, strides=2)(x)  # (B, 112, 112, 64)
        x = _halve(name="pool1")(x)  # (B, 56, 56, 64)
    else:
        x = first(3)(x)
    x = LocalResponseNormalization(name="norm1")(x)
    x = _conv(width(64), 1, name="conv2_reduce")(x)
    x = _conv(width(192), 3, name="conv2")(x)  # (B, 56, 56, 192)
    x = LocalResponseNormalization(name="norm2")(x)
    return _halve(name="pool2")(x)  # (B, 28, 28, 192)


def _inception(x, widths: list[int], name: str):
    """Figure 2 (b): four branches side by side, the wider windows and the pooling behind or before a 1×1 reduction."""
    one, reduce3, three, reduce5, five, projection = widths
    branch1 = _conv(one, 1, name=f"{name}_1x1")(x)
    branch3 = _conv(reduce3, 1, name=f"{name}_3x3_reduce")(x)
    branch3 = _conv(three, 3, name=f"{name}_3x3")(branch3)
    branch5 = _conv(reduce5, 1, name=f"{name}_5x5_reduce")(x)
    branch5 = _conv(five, 5, name=f"{name}_5x5")(branch5)
    pooled = layers.MaxPooling2D(3, strides=1, padding="same", name=f"{name}_pool")(x)
    pooled = _conv(projection, 1, name=f"{name}_pool_proj")(pooled)
    return layers.Concatenate(name=f"{name}_output")([branch1, branch3, branch5, pooled])


def _auxiliary(x, num_classes: int, width, name: str):
    """Section 5: a small classifier on features half-way, which brings gradient to the layers below."""
    x = layers.AveragePooling2D(5, strides=3, name=f"{name}_pool")(x)  # (B, 4, 4, 512) and (B, 4, 4, 528)
    x = _conv(width(128), 1, name=f"{name}_conv")(x)  # (B, 4, 4, 128)
    x = layers.Flatten(name=f"{name}_flatten")(x)  # (B, 2048)
    x = layers.Dense(width(1024), activation="relu", kernel_initializer=LooksLinear(), name=f"{name}_fc")(x)
    x = layers.Dropout(0.7, name=f"{name}_dropout")(x)
    return heads.logits(x, num_classes, _near_zero(), name=f"{name}_predictions")


def _near_zero() -> initializers.Initializer:
    """Every class starts equally likely. Made anew for each layer: one object draws the same numbers every time."""
    return initializers.RandomNormal(stddev=0.002)


def _even(multiplier: float, filters: int) -> int:
    """`filters` times `multiplier`, as the nearest even number, for `LooksLinear` starts units in pairs."""
    return max(2, 2 * round(filters * multiplier / 2))
