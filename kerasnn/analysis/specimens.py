"""What a person looks at beside the numbers: inputs as the network sees them, its worst mistakes, what it writes."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from kerasnn.analysis import figures
from kerasnn.analysis.evaluate import Evaluation
from kerasnn.analysis.generate import generate, translate
from kerasnn.augment.policy import Policy
from kerasnn.augment.preview import augmented_grid, caption
from kerasnn.data.bundle import Bundle
from kerasnn.data.decode import load_examples
from kerasnn.data.stream import batch_at

SPECIMENS, TEXTS = 16, 4
MOST_TOKENS = 256  # Each costs a pass over the whole window.
TEMPERATURE = 0.8  # Of written texts: a little surer than the network is, as is usual.


def inputs(bundle: Bundle, policy: Policy, seed: int, batch_size: int, folder: Path) -> Path:
    """The first inputs of a training: pictures before and after augmentation, or texts as they come out of the tokens.

    Args:
        bundle: what to train on.
        policy: the augmentation of pictures.
        seed: of the run.
        batch_size: of the run, for the very draws of its first batch.
        folder: of the run; the file is made in it.
    """
    if bundle.kind == "tokens":
        tokens, labels = batch_at(bundle, seed=seed, batch_size=batch_size, epoch=0, step=0)
        pairs = zip(np.asarray(tokens)[:SPECIMENS], np.asarray(labels)[:SPECIMENS], strict=True)
        return _write(folder / "inputs.txt", [_as_text(bundle, *pair) for pair in pairs])
    images, labels = augmented_grid(bundle, policy, seed, SPECIMENS // 2, batch_size)
    titles = []
    for name, trained in ([caption(label, bundle.class_names) for label in row] for row in labels):
        titles += [name, trained if policy.mixes else "as trained"]
    return _draw(figures.image_grid(images.reshape(-1, *images.shape[2:]), titles), "augmented_inputs", folder)


def mistakes(bundle: Bundle, seen: Evaluation, folder: Path) -> Path:
    """The test examples whose class the network was surest about and wrong.

    Args:
        bundle: with the test split that was seen.
        seen: what the network made of it.
        folder: of the run; the file is made in it.
    """
    worst = seen.worst(SPECIMENS)
    rows = bundle.test.take(worst)
    answers = seen.labels[worst], seen.predicted[worst], seen.confidence[worst]
    if bundle.kind == "tokens":
        names = bundle.class_names
        lines = [
            f"{names[label]} taken for {names[guess]} ({sure:.0%}): {bundle.tokenizer.decode(tokens)}"
            for tokens, label, guess, sure in zip(rows.tokens, *answers, strict=True)
        ]
        return _write(folder / "worst_mistakes.txt", lines)
    images = load_examples(rows, bundle.input_shape, bundle.resize)
    return _draw(figures.worst_mistakes(images, *answers, bundle.class_names), "worst_mistakes", folder)


def writing(model: keras.Model, bundle: Bundle, seed: int, folder: Path) -> Path:
    """What a model of sequences writes: answers to test sources, filled gaps, or texts that go on from a beginning.

    Args:
        model: of the next token, of hidden ones, or an encoder-decoder.
        bundle: whose test split gives the sources or the first words.
        seed: of the draws.
        folder: of the run; `samples.txt` is made in it.
    """
    decode = bundle.tokenizer.decode
    if len(bundle.input_shape) == 2:
        rows = bundle.test.take(np.arange(min(SPECIMENS, len(bundle.test))))
        answers = translate(model, rows.tokens[:, 0])
        lines = [
            f"{decode(source)} → {decode(answer)} ({_verdict(decode(answer), decode(label[label >= 0]))})"
            for source, answer, label in zip(rows.tokens[:, 0], answers, rows.labels, strict=True)
        ]
        return _write(folder / "samples.txt", lines)
    if bundle.hide:
        rows = bundle.test.take(np.arange(min(SPECIMENS, len(bundle.test))))
        answers = model.predict_on_batch(rows.tokens).argmax(axis=-1)
        lines = [_gaps(bundle, *row) for row in zip(rows.tokens, rows.labels, answers, strict=True)]
        return _write(folder / "samples.txt", lines)
    length = bundle.input_shape[0]
    prompts = bundle.test.tokens[:TEXTS, : max(1, length // 8)]
    texts = generate(model, prompts, MOST_TOKENS, temperature=TEMPERATURE, seed=seed)
    return _write(folder / "samples.txt", [f"{decode(text)}\n{'-' * 72}" for text in texts])


def _verdict(answer: str, expected: str) -> str:
    return "right" if answer == expected else f"expected {expected}"


def _gaps(bundle: Bundle, tokens: np.ndarray, labels: np.ndarray, answers: np.ndarray | None = None) -> str:
    """A text whose hidden tokens stand in brackets, with what was answered: `a [fine → good] film`."""
    decode = bundle.tokenizer.decode
    parts, seen = [], 0
    for place in np.flatnonzero(labels >= 0):
        answer = f" → {decode(answers[place : place + 1]) or '?'}" if answers is not None else ""
        parts += [decode(tokens[seen:place]), f"[{decode(labels[place : place + 1])}{answer}]"]
        seen = place + 1
    return " ".join(filter(None, (*parts, decode(tokens[seen:]))))


def _as_text(bundle: Bundle, tokens: np.ndarray, label: np.ndarray) -> str:
    decode = bundle.tokenizer.decode
    if np.ndim(label) == 0:
        return f"{bundle.class_names[int(label)]}: {decode(tokens)}"
    if bundle.hide:
        return _gaps(bundle, tokens, label)
    target = decode(label[label >= 0])
    return f"{decode(tokens[0])} → {target}" if tokens.ndim == 2 else f"{decode(tokens)!r} → {target!r}"


def _write(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _draw(figure, name: str, folder: Path) -> Path:
    path = folder / "figures" / f"{name}.png"
    figures.save(figure, path)
    return path
