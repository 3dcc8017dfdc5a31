"""The Transformer: attention instead of recurrence, as encoder and decoder, or either of them alone.

Vaswani et al. 2017, Attention Is All You Need, NeurIPS, figure 1 and table 3: rows base (transformer) and big
(transformer_big); transformer_small is smaller than any of theirs, for a CPU.

| `architecture` | input | logits |
| --- | --- | --- |
| encoder_decoder | `(2, length)`, source and target shifted right | `(length, vocab_size)`, the target's tokens |
| encoder | `(length,)` | `(num_classes,)`, from the mean over all tokens |
| decoder | `(length,)` | `(length, vocab_size)`, each next token |

Any length from 2 on. Id 0 is padding, on the right: the encoder, the memory and the mean leave it out; the decoder
never looks right. One table of words serves source, target and output (section 3.4), read times √width on the way in.

As in the authors' own code (tensor2tensor): no biases in attention, epsilon 1e-6, the table from a normal of deviation
1/√width, Glorot's rule elsewhere. The encoder's mean and the decoder alone are not in the paper.

Count, in the table below: all weights with the row's number of words, added up by hand; the paper says 65M (base) and
213M (big). Positions are sines and cosines, which have no weights.
"""

from functools import partial
from typing import Literal

import keras
from keras import initializers, layers, ops

from kerasnn.errors import ModelError, unknown
from kerasnn.layers.sinusoidal_positions import SinusoidalPositions
from kerasnn.layers.tied_embedding import TiedEmbedding
from kerasnn.layers.transformer_block import TransformerBlock
from kerasnn.models import heads, inputs
from kerasnn.ranges import Fraction, Positive

Variant = Literal["transformer", "transformer_big", "transformer_small"]

# variant: layers of encoder and of decoder, width, heads, feed-forward units, words, published count
TRANSFORMER = {
    "transformer": (6, 512, 8, 2048, 37_000, 63_045_632),
    "transformer_big": (6, 1024, 16, 4096, 37_000, 214_171_648),
    "transformer_small": (2, 128, 4, 512, 1_000, 1_050_624),
}


def transformer(
    variant: Variant,
    input_shape: tuple[int, ...],
    vocab_size: int,
    num_classes: int = 2,
    architecture: Literal["encoder_decoder", "encoder", "decoder"] = "encoder_decoder",
    dropout: Fraction = 0.1,
    stochastic_depth_rate: Fraction = 0.0,
    depth: Positive | None = None,
    width: Positive | None = None,
    num_heads: Positive | None = None,
    hidden_dim: Positive | None = None,
) -> keras.Model:
    """Transformer: `(2, length)` → `(length, vocab_size)` logits of the target's next tokens.

    Args:
        variant: a row of the table, such as "transformer".
        input_shape: `(2, length)`, or `(length,)` for encoder or decoder alone.
        vocab_size: number of different tokens, padding included.
        num_classes: number of classes; only the encoder alone has any.
        architecture: see the table at the top.
        dropout: share of the embeddings and of each branch's output that is dropped in training; the paper's big one
            takes 0.3.
        stochastic_depth_rate: how often the branches of the encoder's and of the decoder's last layer are left out in
            training; those of earlier ones proportionally less.
        depth: layers of the encoder and of the decoder; None is the variant's.
        width: size of a token's vector; None is the variant's.
        num_heads: heads of each attention; None is the variant's.
        hidden_dim: units of each feed-forward network; None is the variant's.

    Raises:
        ModelError: no such variant, an input of another shape, or heads that cannot share the width.

    Example:
        >>> transformer("transformer", (2, 64), 37_000).count_params()
        63045632
    """
    if variant not in TRANSFORMER:
        raise ModelError(unknown("variant of transformer", variant, TRANSFORMER))
    own = (depth, width, num_heads, hidden_dim)
    depth, width, num_heads, hidden_dim = (a or b for a, b in zip(own, TRANSFORMER[variant][:4], strict=True))
    pairs = architecture == "encoder_decoder"
    data = {"encoder_decoder": "sequences", "encoder": "text", "decoder": "text_lm"}[architecture]
    tokens = inputs.tokens(variant, input_shape, data, pairs)
    embedding = TiedEmbedding(
        vocab_size, width, embeddings_initializer=initializers.RandomNormal(stddev=width**-0.5), name="embedding"
    )
    block = partial(TransformerBlock, num_heads, hidden_dim, dropout=dropout, attention_bias=False, epsilon=1e-6)
    rates = [stochastic_depth_rate * place / max(1, depth - 1) for place in range(depth)]
    encode = partial(_encode, embedding=embedding, block=block, rates=rates, dropout=dropout)
    decode = partial(_decode, embedding=embedding, block=block, rates=rates, dropout=dropout)
    if architecture == "encoder":
        logits = heads.logits(_mean(encode(tokens), tokens), num_classes)
    elif architecture == "decoder":
        logits = heads.tied_logits(decode(tokens), embedding)
    else:
        source, target = tokens[:, 0], tokens[:, 1]  # (B, T) each
        logits = heads.tied_logits(decode(target, encode(source), ops.not_equal(source, 0)), embedding)
    return keras.Model(tokens, logits, name=variant)


def _encode(tokens, embedding, block, rates: list[float], dropout: float):
    """Ids `(B, T)` to features `(B, T, D)`, each of which has seen all tokens; a layer for each of the rates."""
    x = _embed(tokens, embedding, dropout, "encoder")
    padding_mask = ops.not_equal(tokens, 0)
    for number, rate in enumerate(rates, start=1):
        x = block(stochastic_depth_rate=rate, name=f"encoder_block{number}")(x, padding_mask=padding_mask)
    return x


def _decode(tokens, memory=None, memory_mask=None, *, embedding, block, rates: list[float], dropout: float):
    """Ids `(B, T)` to features `(B, T, D)`, each of which has seen the tokens up to its own, and the memory if any."""
    block = partial(block, causal=True, cross_attention=memory is not None)
    x = _embed(tokens, embedding, dropout, "decoder")
    for number, rate in enumerate(rates, start=1):
        layer = block(stochastic_depth_rate=rate, name=f"decoder_block{number}")
        x = layer(x, memory=memory, memory_mask=memory_mask)
    return x


def _embed(tokens, embedding, dropout: float, name: str):
    x = embedding(tokens) * embedding.output_dim**0.5  # (B, T, D)
    x = SinusoidalPositions(name=f"{name}_positions")(x)
    return layers.Dropout(dropout, name=f"{name}_dropout")(x)


def _mean(x, tokens):
    """The mean of the features `(B, T, D)` over all tokens that are no padding: `(B, D)`; zeros if there is none."""
    seen = ops.cast(ops.expand_dims(ops.not_equal(tokens, 0), -1), x.dtype)  # (B, T, 1)
    return ops.sum(x * seen, axis=1) / ops.maximum(ops.sum(seen, axis=1), 1)
