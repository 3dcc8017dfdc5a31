"""GPT: a decoder that predicts the next token, and nothing else.

Radford, Wu, Child, Luan, Amodei, Sutskever 2019, Language Models are Unsupervised Multitask Learners, table 2: gpt2 to
gpt2_xl. Brown et al. 2020, Language Models are Few-Shot Learners, table 2.1: gpt3_125m to gpt3. `gpt` is the size that
nanoGPT (Karpathy 2022) trains on a CPU within minutes.

Input `(length,)` → `(length, vocab_size)` logits of each next token. Any length from 2 on; it is also the number of
positions. No token is special to the network: padding, if any, stands on the right, where no token looks.

As in the authors' code: normalization before each branch and once at the end, the tanh form of gelu, the table of
words read backwards for the logits; kernels and words from a normal of deviation 0.02, positions of 0.01. As in the
paper, kernels that end a branch start smaller by √(2 · depth).

Deviations: attention is dense, where GPT-3 alternates it with a banded sparse one, which has the same weights. Two rows
of table 2.1 do not multiply out: 24 heads of 128 for a width of 2,048 (1.3B), 40 heads of 128 for one of 5,140 (13B).
In the other rows the heads, of 64, 80, 96 or 128, share the width without a rest. So that they do here too, heads of
128 are kept, with 16 of them in the one row and a width of 5,120 in the other.

Count, in the table below: all weights at the row's length, with 50,257 words (`gpt`: 65 characters), added up by hand.
The GPT-2 paper prints 117M, 345M, 762M and 1542M, which its authors mended. Layer names are keras-hub's.
"""

from typing import Literal

import keras
from keras import initializers, layers

from kerasnn.errors import ModelError, unknown
from kerasnn.layers.position_embedding import PositionEmbedding
from kerasnn.layers.tied_embedding import TiedEmbedding
from kerasnn.layers.transformer_block import TransformerBlock
from kerasnn.models import heads, inputs
from kerasnn.ranges import Fraction, Positive

Variant = Literal[
    "gpt",
    "gpt2",
    "gpt2_medium",
    "gpt2_large",
    "gpt2_xl",
    "gpt3_125m",
    "gpt3_350m",
    "gpt3_760m",
    "gpt3_1_3b",
    "gpt3_2_7b",
    "gpt3_6_7b",
    "gpt3_13b",
    "gpt3",
]

# variant: layers, width, heads, length, published count
GPT = {
    "gpt": (4, 128, 4, 64, 809_856),
    "gpt2": (12, 768, 12, 1024, 124_439_808),
    "gpt2_medium": (24, 1024, 16, 1024, 354_823_168),
    "gpt2_large": (36, 1280, 20, 1024, 774_030_080),
    "gpt2_xl": (48, 1600, 25, 1024, 1_557_611_200),
    "gpt3_125m": (12, 768, 12, 2048, 125_226_240),
    "gpt3_350m": (24, 1024, 16, 2048, 355_871_744),
    "gpt3_760m": (24, 1536, 16, 2048, 760_300_032),
    "gpt3_1_3b": (24, 2048, 16, 2048, 1_315_723_264),
    "gpt3_2_7b": (32, 2560, 32, 2048, 2_651_553_280),
    "gpt3_6_7b": (32, 4096, 32, 2048, 6_658_404_352),
    "gpt3_13b": (40, 5120, 40, 2048, 12_853_386_240),
    "gpt3": (96, 12288, 96, 2048, 174_604_259_328),
}

EPSILON = 1e-5


def gpt(
    variant: Variant,
    input_shape: tuple[int],
    vocab_size: int,
    dropout: Fraction = 0.1,
    stochastic_depth_rate: Fraction = 0.0,
    depth: Positive | None = None,
    width: Positive | None = None,
    num_heads: Positive | None = None,
) -> keras.Model:
    """GPT: `(length,)` → `(length, vocab_size)` logits of each next token.

    Args:
        variant: a row of the table, such as "gpt2".
        input_shape: `(length,)`.
        vocab_size: number of different tokens.
        dropout: share that is dropped in training of the embeddings, the attention weights and each branch's output.
        stochastic_depth_rate: how often the last layer's branches are left out in training; earlier ones
            proportionally less.
        depth: number of layers; None is the variant's.
        width: size of a token's vector, a quarter of the feed-forward units; None is the variant's.
        num_heads: heads of each attention; None is the variant's.

    Raises:
        ModelError: no such variant, an input of another shape, or heads that cannot share the width.

    Example:
        >>> gpt("gpt2", (1024,), 50_257).count_params()
        124439808
    """
    if variant not in GPT:
        raise ModelError(unknown("variant of gpt", variant, GPT))
    own = (depth, width, num_heads)
    depth, width, num_heads = (a or b for a, b in zip(own, GPT[variant][:3], strict=True))
    normal = initializers.RandomNormal
    tokens = inputs.tokens(variant, input_shape, data="text_lm")
    embedding = TiedEmbedding(vocab_size, width, embeddings_initializer=normal(stddev=0.02), name="token_embedding")
    x = PositionEmbedding(normal(stddev=0.01), name="position_embedding")(embedding(tokens))  # (B, T, D)
    x = layers.Dropout(dropout, name="embeddings_dropout")(x)
    for number in range(depth):
        x = TransformerBlock(
            num_heads,
            4 * width,
            activation="gelu_tanh",
            dropout=dropout,
            attention_dropout=dropout,
            stochastic_depth_rate=stochastic_depth_rate * number / max(1, depth - 1),
            pre_norm=True,
            causal=True,
            epsilon=EPSILON,
            kernel_initializer=normal(stddev=0.02),
            # Each layer adds two branches to the stream: together they start as loud as one.
            output_initializer=normal(stddev=0.02 / (2 * depth) ** 0.5),
            name=f"transformer_layer_{number}",
        )(x)
    x = layers.LayerNormalization(epsilon=EPSILON, name="layer_norm")(x)
    return keras.Model(tokens, heads.tied_logits(x, embedding), name=variant)
