"""BERT: an encoder that learns language by filling gaps, and then to classify.

Devlin, Chang, Lee, Toutanova 2019, BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding,
NAACL, section 3: bert_base and bert_large. `bert` is the smallest of Turc, Chang, Lee, Toutanova 2019, Well-Read
Students Learn Better, table 1 (BERT-Tiny: 2 layers of 128), which a CPU trains.

Input `(length,)`: [CLS] text [SEP], or [CLS] text [SEP] text [SEP], then padding, id 0, which nothing attends to. What
follows the first separator is the second segment. Any length from 2 on; it is also the number of positions.

| `head` | output |
| --- | --- |
| classes | `(num_classes,)` logits, from [CLS] |
| masked_words | `(length, vocab_size)` logits of each word, for training without labels |
| none | `(width,)` features of [CLS] |

As in the authors' code: normalization after each branch with epsilon 1e-12, the tanh form of gelu, kernels and tables
from a truncated normal of deviation 0.02. Deviation: no head for the next sentence, which later work drops.

Count, in the table below: all weights without a head, of 512 positions and 30,522 words (the uncased vocabulary); the
papers say 110M, 340M and 4.4M. Layer names are keras-hub's, so that its weights fit: `transformer_layer_0`.
"""

from functools import partial
from typing import Literal

import keras
from keras import initializers, layers, ops

from kerasnn.errors import ModelError, unknown
from kerasnn.layers.position_embedding import PositionEmbedding
from kerasnn.layers.tied_embedding import TiedEmbedding
from kerasnn.layers.transformer_block import TransformerBlock
from kerasnn.models import heads, inputs
from kerasnn.ranges import Count, Fraction, Positive

Variant = Literal["bert", "bert_base", "bert_large"]

# variant: layers, width, heads, feed-forward units, published count
BERT = {
    "bert": (2, 128, 2, 512, 4_385_920),
    "bert_base": (12, 768, 12, 3072, 109_482_240),
    "bert_large": (24, 1024, 16, 4096, 335_141_888),
}

EPSILON = 1e-12


def bert(
    variant: Variant,
    input_shape: tuple[int],
    vocab_size: int,
    num_classes: int = 2,
    head: Literal["classes", "masked_words", "none"] = "classes",
    separator_id: Count = 3,
    dropout: Fraction = 0.1,
    stochastic_depth_rate: Fraction = 0.0,
    depth: Positive | None = None,
    width: Positive | None = None,
    num_heads: Positive | None = None,
    hidden_dim: Positive | None = None,
) -> keras.Model:
    """BERT: `(length,)` → `(num_classes,)` logits.

    Args:
        variant: a row of the table, such as "bert_base".
        input_shape: `(length,)`.
        vocab_size: number of different tokens, padding included.
        num_classes: number of classes; only `head=classes` has any.
        head: see the table at the top.
        separator_id: id of [SEP]; 102 in the published vocabularies.
        dropout: share that is dropped in training of the embeddings, the attention weights, each branch's output and
            the features of [CLS].
        stochastic_depth_rate: how often the last layer's branches are left out in training; earlier ones
            proportionally less.
        depth: number of layers; None is the variant's.
        width: size of a token's vector; None is the variant's.
        num_heads: heads of each attention; None is the variant's.
        hidden_dim: units of each feed-forward network; None is the variant's.

    Raises:
        ModelError: no such variant, an input of another shape, or heads that cannot share the width.

    Example:
        >>> bert("bert_base", (512,), 30_522, head="none").count_params()
        109482240
    """
    if variant not in BERT:
        raise ModelError(unknown("variant of bert", variant, BERT))
    own = (depth, width, num_heads, hidden_dim)
    depth, width, num_heads, hidden_dim = (a or b for a, b in zip(own, BERT[variant][:4], strict=True))
    tokens = inputs.tokens(variant, input_shape, data="text")
    embedding = TiedEmbedding(
        vocab_size,
        width,
        use_bias=head == "masked_words",
        embeddings_initializer=_normal(),
        name="token_embedding",
    )
    x = _embed(tokens, embedding, separator_id, dropout)
    padding_mask = ops.not_equal(tokens, 0)
    for number in range(depth):
        x = TransformerBlock(
            num_heads,
            hidden_dim,
            activation="gelu_tanh",
            dropout=dropout,
            attention_dropout=dropout,
            stochastic_depth_rate=stochastic_depth_rate * number / max(1, depth - 1),
            epsilon=EPSILON,
            kernel_initializer=_normal(),
            name=f"transformer_layer_{number}",
        )(x, padding_mask=padding_mask)  # (B, T, D)
    ends = {
        "classes": partial(_classes, num_classes=num_classes, dropout=dropout),
        "masked_words": partial(_masked_words, embedding=embedding),
        "none": _pooled,
    }
    return keras.Model(tokens, ends[head](x), name=variant)


def _normal():
    return initializers.TruncatedNormal(stddev=0.02)


def _embed(tokens, embedding, separator_id: int, dropout: float):
    """Ids `(B, T)` to vectors `(B, T, D)`: word, position and segment, added and normalized."""
    segment_embedding = layers.Embedding(
        2, embedding.output_dim, embeddings_initializer=_normal(), name="segment_embedding"
    )
    x = PositionEmbedding(_normal(), name="position_embedding")(embedding(tokens))
    x = x + segment_embedding(segments(tokens, separator_id))
    x = layers.LayerNormalization(epsilon=EPSILON, name="embeddings_layer_norm")(x)
    return layers.Dropout(dropout, name="embeddings_dropout")(x)


def segments(tokens, separator_id: int):
    """0 up to the first separator, 1 after it, and 0 for padding: `(batch, length)` int32, as the tokens.

    Example:
        >>> segments(keras.ops.array([[2, 7, 3, 8, 9, 3, 0]]), separator_id=3)      # [[0, 0, 0, 1, 1, 1, 0]]
    """
    separators = ops.cast(ops.equal(tokens, separator_id), "int32")
    before = ops.cumsum(separators, axis=1) - separators  # The separator itself ends the first segment.
    return ops.cast(ops.logical_and(ops.greater(before, 0), ops.not_equal(tokens, 0)), "int32")


def _pooled(x):
    """The features of the first token, [CLS]: `(B, D)`."""
    pool = layers.Dense(x.shape[-1], activation="tanh", kernel_initializer=_normal(), name="pooled_dense")
    return pool(x[:, 0])


def _classes(x, num_classes: int, dropout: float):
    x = layers.Dropout(dropout, name="classifier_dropout")(_pooled(x))
    return heads.logits(x, num_classes, _normal())


def _masked_words(x, embedding):
    """Logits of each word: `(B, T, vocab_size)`."""
    x = layers.Dense(x.shape[-1], kernel_initializer=_normal(), name="mlm_head_dense")(x)
    x = layers.LayerNormalization(epsilon=EPSILON, name="mlm_head_layer_norm")(ops.gelu(x, approximate=True))
    return heads.tied_logits(x, embedding)
