"""Tokens from a trained network: a text that goes on, or a source's other half.

Functions of a network and of ids; a tokenizer turns words into ids and back elsewhere. Every step reads the whole
window again, so a text of n new tokens costs n predictions of a batch.
"""

from collections.abc import Sequence

import keras
import numpy as np

from kerasnn.errors import DataError, ModelError
from kerasnn.ranges import Count, NonNegativeFloat, Positive, Seed

Ids = Sequence[int] | np.ndarray


def generate(
    model: keras.Model,
    prompts: Sequence[Ids],
    new_tokens: Positive,
    temperature: NonNegativeFloat = 1.0,
    top_k: Count = 0,
    seed: Seed = 0,
    end_id: int | None = None,
) -> list[np.ndarray]:
    """Goes on with each prompt by `new_tokens` tokens, or up to `end_id`.

    The network reads the last `length` tokens, with padding on the right, where a causal network does not look. What a
    row says depends on its prompt, its place in the batch and the seed alone, not on the other rows.

    Args:
        model: `(batch, length)` ids → `(batch, length, words)` logits of each next token, such as `gpt`.
        prompts: ids, at least one per prompt; of any lengths.
        new_tokens: how many to add at most.
        temperature: what logits are divided by; 0 takes the most probable token.
        top_k: draw from the k most probable tokens; 0 draws from all.
        seed: same seed, same text.
        end_id: the token that ends a text; it is the text's last then.

    Returns:
        The prompts with what was added, int32, one array per prompt.

    Raises:
        ModelError: the network predicts no next tokens.
        DataError: an empty prompt, or a token that the network does not know.

    Example:
        >>> generate(model, [[5, 9, 2]], new_tokens=20, temperature=0.8, top_k=40, seed=1)
    """
    length, words = _sizes(model, pairs=False)
    texts = [_checked(prompt, words, "prompt") for prompt in prompts]
    draws = [np.random.default_rng((seed, row)) for row in range(len(texts))]
    ended = [False] * len(texts)
    for _ in range(new_tokens):
        windows = [text[-length:] for text in texts]
        logits = model.predict_on_batch(_padded(windows, length))  # (B, T, V)
        for row, window in enumerate(windows):
            if not ended[row]:
                token = _choose(logits[row, len(window) - 1], temperature, top_k, draws[row])
                texts[row].append(token)
                ended[row] = token == end_id
        if all(ended):
            break
    return [np.array(text, "int32") for text in texts]


def translate(model: keras.Model, sources: Sequence[Ids], start_id: int = 2, end_id: int = 3) -> list[np.ndarray]:
    """The target of each source, its most probable token at every step, up to `end_id` or the network's length.

    Args:
        model: `(batch, 2, length)` source and target → `(batch, length, words)` logits of the target's next tokens.
        sources: ids, at least one and at most `length` per source.
        start_id: what every target starts with.
        end_id: what ends a target.

    Returns:
        The targets without start and end, int32, one array per source.

    Raises:
        ModelError: the network is no encoder with a decoder.
        DataError: an empty or too long source, or a token that the network does not know.

    Example:
        >>> translate(transformer_that_reverses, [[5, 6, 7, 3]])      # [array([7, 6, 5])]
    """
    length, words = _sizes(model, pairs=True)
    texts = [_checked(source, words, "source") for source in sources]
    longest = max(map(len, texts), default=0)
    if longest > length:
        raise DataError(
            f"a source has {longest} tokens, but {model.name} reads {length}: cut it, or train a longer one"
        )
    pairs = np.zeros((len(texts), 2, length), "int32")
    pairs[:, 0] = _padded(texts, length)
    pairs[:, 1, 0] = start_id
    targets: list[list[int]] = [[] for _ in texts]
    ended = np.zeros(len(texts), bool)
    for place in range(length):
        best = model.predict_on_batch(pairs)[:, place].argmax(axis=-1)  # (B,)
        ended |= best == end_id
        for row in np.flatnonzero(~ended):
            targets[row].append(int(best[row]))
        if ended.all():
            break
        if place + 1 < length:
            pairs[:, 1, place + 1] = np.where(ended, 0, best)
    return [np.array(target, "int32") for target in targets]


def _sizes(model: keras.Model, pairs: bool) -> tuple[int, int]:
    """Length and number of words of a network, if it is one of next tokens."""
    seen, said = tuple(model.input_shape), tuple(model.output_shape)
    before = (None, 2) if pairs else (None,)
    if seen[:-1] != before or len(said) != 3 or said[1] != seen[-1]:
        wanted = "(batch, 2, length)" if pairs else "(batch, length)"
        raise ModelError(
            f"{model.name} takes {seen} to {said}, but next tokens need {wanted} ids to (batch, length, words) logits"
        )
    return seen[-1], said[-1]


def _checked(ids: Ids, words: int, kind: str) -> list[int]:
    text = [int(token) for token in ids]
    if not text:
        raise DataError(f"a {kind} is empty: give at least one token, such as 2, which starts a text")
    strange = next((token for token in text if not 0 <= token < words), None)
    if strange is not None:
        raise DataError(
            f"a {kind} holds token {strange}, but the network knows 0 to {words - 1}: use its own tokenizer"
        )
    return text


def _padded(texts: list[list[int]], length: int) -> np.ndarray:
    """`(texts, length)` int32 with zeros on the right."""
    padded = np.zeros((len(texts), length), "int32")
    for row, text in enumerate(texts):
        padded[row, : len(text)] = text
    return padded


def _choose(logits: np.ndarray, temperature: float, top_k: int, draw: np.random.Generator) -> int:
    """One token from its logits `(words,)`."""
    if temperature == 0:
        return int(logits.argmax())
    logits = logits.astype("float64")
    tokens = np.argsort(-logits, kind="stable")[: top_k or None]
    # Taking the largest off first keeps a temperature near 0 from an overflow.
    chances = np.exp((logits[tokens] - logits[tokens[0]]) / temperature)
    return int(draw.choice(tokens, p=chances / chances.sum()))
