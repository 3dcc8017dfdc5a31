"""What a trained network makes of a split: loss, accuracy and, of a class per example, confusion and worst mistakes."""

from dataclasses import dataclass

import keras
import numpy as np


@dataclass(frozen=True)
class Evaluation:
    """One pass over a split, in its order.

    Args:
        labels: the true class of each example, `(examples,)`.
        logits: the network's answer, `(examples, classes)`.
        loss: mean over the examples.
    """

    labels: np.ndarray
    logits: np.ndarray
    loss: float

    @property
    def predicted(self) -> np.ndarray:
        """The class with the highest logit, `(examples,)`."""
        return self.logits.argmax(axis=-1)

    @property
    def accuracy(self) -> float:
        """Share of examples whose class is predicted."""
        return float((self.predicted == self.labels).mean())

    @property
    def confidence(self) -> np.ndarray:
        """Softmax probability of the predicted class, `(examples,)`."""
        shifted = np.exp(self.logits - self.logits.max(axis=-1, keepdims=True))
        return shifted.max(axis=-1) / shifted.sum(axis=-1)

    def confusion(self) -> np.ndarray:
        """Counts by true class (row) and predicted class (column), `(classes, classes)`."""
        classes = self.logits.shape[-1]
        matrix = np.zeros((classes, classes), dtype=np.int64)
        np.add.at(matrix, (self.labels, self.predicted), 1)
        return matrix

    def worst(self, count: int) -> np.ndarray:
        """Indices of the mistakes that the network was surest of, surest first; at most `count`."""
        wrong = np.flatnonzero(self.predicted != self.labels)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")][:count]


def evaluate(model: keras.Model, stream, labels: np.ndarray, loss: keras.losses.Loss) -> Evaluation:
    """One forward pass over an evaluation stream.

    Args:
        model: the network, compiled or not.
        stream: batches of `(images, labels)`, each example once and in order.
        labels: the same labels as an array, `(examples,)`.
        loss: of `(labels, logits)`.
    """
    logits = model.predict(stream, verbose=0).astype("float32")
    value = float(keras.ops.convert_to_numpy(loss(labels, logits)))
    return Evaluation(np.asarray(labels), logits, value)


@dataclass(frozen=True)
class SequenceEvaluation:
    """One pass over a split whose examples have a label at each position.

    Args:
        loss: mean over the positions that have a label.
        cross_entropy: the same without label smoothing, in nats.
        accuracy: share of those positions whose label is predicted.
        positions: how many those are.
    """

    loss: float
    cross_entropy: float
    accuracy: float
    positions: int

    @property
    def perplexity(self) -> float:
        """exp(cross-entropy): between how many equally likely words the network wavers."""
        return float(np.exp(self.cross_entropy))


def evaluate_sequences(model: keras.Model, stream, loss: keras.losses.Loss) -> SequenceEvaluation:
    """One forward pass over a stream with a label, or -1, at each position; only sums are kept.

    Args:
        model: the network, compiled or not.
        stream: batches of `(tokens, labels)`, labels `(batch, time)`.
        loss: of `(labels, logits)`, a mean over the labelled positions.
    """
    total, plain, right, positions = 0.0, 0.0, 0, 0
    for tokens, labels in stream:
        labels = np.asarray(labels)
        counted = labels >= 0
        logits = model.predict_on_batch(tokens)
        total += counted.sum() * float(keras.ops.convert_to_numpy(loss(labels, logits)))
        log_shares = keras.ops.convert_to_numpy(keras.ops.log_softmax(keras.ops.cast(logits, "float32")))
        plain -= float(np.take_along_axis(log_shares, np.maximum(labels, 0)[..., None], axis=-1)[counted].sum())
        right += int((log_shares.argmax(axis=-1) == labels)[counted].sum())
        positions += int(counted.sum())
    return SequenceEvaluation(total / positions, plain / positions, right / positions, positions)
