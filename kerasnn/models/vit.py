"""ViT: a transformer that reads a picture as a sequence of patches.

Dosovitskiy, Beyer, Kolesnikov, Weissenborn, Zhai et al. 2021, An Image is Worth 16x16 Words: Transformers for Image
Recognition at Scale, ICLR: equations 1 to 4, figure 1, and vit_base of table 1. vit_tiny and vit_small are DeiT-Ti and
DeiT-S of Touvron et al. 2021, Training data-efficient image transformers, table 1, without the distillation token.

Input `(224, 224, 3)` → `(num_classes,)` logits. Patches of 16×16 make 14 × 14 tokens; pictures below 64×64, such as
CIFAR's, are cut into 4×4. The sides must be multiples of the patch, so the smallest legal input is one patch.

Deviations: one linear layer on the class token, as the paper has it for fine-tuning and DeiT throughout; kernels start
from a truncated normal of deviation 0.02 and stochastic depth is on, as in DeiT.

Count, in the table below: trainable weights at 224×224×3, patches of 16 and 1,000 classes.
"""

from functools import partial
from typing import Literal

import keras
from keras import layers

from kerasnn.errors import ModelError, unknown
from kerasnn.layers.class_token import ClassToken
from kerasnn.layers.position_embedding import PositionEmbedding
from kerasnn.models import heads, inputs
from kerasnn.ranges import Fraction, Positive

Variant = Literal["vit_tiny", "vit_small", "vit_base"]

# variant: width of a token, attention heads, published count
VIT = {
    "vit_tiny": (192, 3, 5_717_416),
    "vit_small": (384, 6, 22_050_664),
    "vit_base": (768, 12, 86_567_656),
}

LARGE = 64  # Sides from which `auto` cuts patches of 16×16.

# A config and no instance: an instance would draw the same kernel for every layer of one shape.
NORMAL = {"class_name": "TruncatedNormal", "config": {"stddev": 0.02}}

DENSE = partial(layers.Dense, kernel_initializer=NORMAL)
NORM = partial(layers.LayerNormalization, epsilon=1e-6)


def vit(
    variant: Variant,
    input_shape: tuple[int, int, int],
    num_classes: int,
    patch_size: Literal["auto"] | Positive = "auto",
    dropout: Fraction = 0.0,
    stochastic_depth_rate: Fraction = 0.1,
    depth: Positive = 12,
    width: Positive | None = None,
    num_heads: Positive | None = None,
) -> keras.Model:
    """ViT: `(224, 224, 3)` → `(num_classes,)` logits.

    Args:
        variant: a row of the table, such as "vit_base".
        input_shape: `(height, width, channels)`, sides multiples of the patch.
        num_classes: number of classes.
        patch_size: height and width of a patch; `auto` is 16 from 64×64 on, else 4.
        dropout: share that is dropped in training of the embedded patches and of each branch, as in the paper.
        stochastic_depth_rate: how often the last block's branches are left out; earlier ones proportionally less.
        depth: number of transformer blocks.
        width: size of a token's vector; None takes the variant's.
        num_heads: attention heads, a divisor of the width; None takes the variant's.

    Raises:
        ModelError: no such variant, patches that do not fill the picture, or heads that do not divide the width.

    Example:
        >>> vit("vit_base", (224, 224, 3), 1000).count_params()
        86567656
    """
    if variant not in VIT:
        raise ModelError(unknown("variant of vit", variant, VIT))
    own_width, own_heads, _ = VIT[variant]
    width, num_heads = width or own_width, num_heads or own_heads
    if width % num_heads:
        raise ModelError(
            f"{variant}: model.num_heads={num_heads} does not divide the width: "
            f"model.width={width} is no multiple of it, {-(-width // num_heads) * num_heads} would be"
        )
    size = patch_size
    if size == "auto":
        size = 16 if min(input_shape[:2]) >= LARGE else 4

    x = picture = inputs.picture(variant, input_shape, size, "a smaller model.patch_size")
    _check_grid(variant, input_shape, size)
    x = layers.Conv2D(width, size, strides=size, kernel_initializer=NORMAL, name="patches")(x)  # (B, 14, 14, 768)
    x = layers.Reshape((-1, width), name="sequence")(x)  # (B, 196, 768)
    x = ClassToken(name="class_token")(x)  # (B, 197, 768)
    x = _dropped(PositionEmbedding(NORMAL, name="positions")(x), dropout, "positions_dropout")
    for block in range(depth):
        x = _block(x, num_heads, dropout, stochastic_depth_rate * block / max(1, depth - 1), f"block{block + 1}")
    x = NORM(name="norm")(x)[:, 0]  # (B, 768): what the class token gathered
    return keras.Model(picture, heads.logits(x, num_classes, NORMAL), name=variant)


def _check_grid(variant: str, input_shape: tuple[int, int, int], size: int) -> None:
    height, width, _ = input_shape
    if height % size or width % size:
        fitting = -(-max(height, width) // size) * size
        raise ModelError(
            f"{variant}: the picture is {height}×{width}, which patches of {size}×{size} do not fill; "
            f"set data.image_size={fitting} or another model.patch_size"
        )


def _block(x, num_heads: int, dropout: float, drop_rate: float, name: str):
    """Tokens look at each other, then each is worked on by itself; both normalized first, and added to what came in."""
    shortcut, width = x, x.shape[-1]
    x = NORM(name=f"{name}_norm1")(x)
    attention = partial(layers.MultiHeadAttention, num_heads, width // num_heads, kernel_initializer=NORMAL)
    x = _dropped(attention(name=f"{name}_attention")(x, x), dropout, f"{name}_attention_dropout")
    x = shortcut = _add(x, shortcut, drop_rate, f"{name}_add1")
    x = DENSE(4 * width, activation="gelu", name=f"{name}_fc1")(NORM(name=f"{name}_norm2")(x))
    x = _dropped(x, dropout, f"{name}_fc1_dropout")
    x = _dropped(DENSE(width, name=f"{name}_fc2")(x), dropout, f"{name}_fc2_dropout")
    return _add(x, shortcut, drop_rate, f"{name}_add2")


def _dropped(x, rate: float, name: str):
    return layers.Dropout(rate, name=name)(x) if rate else x


def _add(branch, shortcut, drop_rate: float, name: str):
    """`branch` and `shortcut`, added; in training the branch of an example falls out as a whole at `drop_rate`."""
    if drop_rate:
        branch = layers.Dropout(drop_rate, noise_shape=(None, 1, 1), name=f"{name}_stochastic_depth")(branch)
    return layers.Add(name=name)([branch, shortcut])
