"""What a trained network makes of a split: loss, accuracy, confusion, worst mistakes."""

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
