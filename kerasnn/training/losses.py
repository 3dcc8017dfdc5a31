"""What training makes smaller. Every loss takes integer labels and logits, and computes in float32.

Cross-entropy is the default of every classifier here; the perceptron's loss is Rosenblatt's correction rule.
"""

import keras
from keras import ops

from kerasnn.ranges import Fraction


@keras.saving.register_keras_serializable(package="kerasnn")
class CrossEntropy(keras.losses.Loss):
    """Softmax cross-entropy of logits, with label smoothing (Szegedy et al. 2016, section 7).

    Smoothing moves the share `label_smoothing` of each target evenly onto all classes:
    (1 - s) · -log p(label) + s · mean over classes of -log p.

    Args:
        label_smoothing: the share s that is moved; 0 is plain cross-entropy.

    Labels: integers `(batch, ...)`, or shares `(batch, ..., classes)` that sum to 1. Logits: `(batch, ..., classes)`.
    Where each position of a sequence has a label, -1 stands for none: the mean is over the positions that have one, of
    the part of a batch that a replica sees; parts with fewer labels then weigh as much as others.

    Example:
        >>> CrossEntropy()([0], [[0.0, 0.0]])      # log 2 = 0.693
    """

    def __init__(
        self, label_smoothing: Fraction = 0.0, name: str = "cross_entropy", reduction: str = "sum_over_batch_size"
    ):
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        """The loss of each example, `(batch, ...)`."""
        logits = ops.cast(y_pred, "float32")
        labels = ops.convert_to_tensor(y_true)
        shares = labels.ndim == logits.ndim
        if shares:
            loss = ops.categorical_crossentropy(ops.cast(labels, "float32"), logits, from_logits=True)
        else:
            labels = ops.cast(labels, "int32")
            loss = ops.sparse_categorical_crossentropy(ops.maximum(labels, 0), logits, from_logits=True)
        if self.label_smoothing:
            even = ops.logsumexp(logits, axis=-1) - ops.mean(logits, axis=-1)
            loss = (1 - self.label_smoothing) * loss + self.label_smoothing * even
        return loss if shares or labels.ndim < 2 else _of_labelled(loss, labels)

    def get_config(self):
        """What rebuilds this loss."""
        return {"label_smoothing": self.label_smoothing, "name": self.name, "reduction": self.reduction}


def _of_labelled(loss, labels):
    """The losses of positions with a label, scaled so that their mean over all positions is that over the labelled."""
    labelled = ops.cast(labels >= 0, "float32")
    return loss * labelled / ops.maximum(ops.mean(labelled), 1e-9)


@keras.saving.register_keras_serializable(package="kerasnn")
class PerceptronLoss(keras.losses.Loss):
    """How far the best wrong class is ahead of the right one: max(0, max over j ≠ label of logit_j - logit_label).

    Rosenblatt 1958, in the form for several classes (Duda & Hart 1973, section 5.12). A wrong answer adds the input to
    the right class's weights and takes it from the winner's; a right answer changes nothing. A tie counts as wrong, or
    weights that start at zero would never move.

    Labels: integers `(batch, ...)`. Logits: `(batch, ..., classes)`, at least two classes.

    Example:
        >>> PerceptronLoss()([0], [[1.0, 3.0, 2.0]])      # 3 - 1 = 2
    """

    def __init__(self, name: str = "perceptron_loss", reduction: str = "sum_over_batch_size"):
        super().__init__(name=name, reduction=reduction, dtype="float32")

    def call(self, y_true, y_pred):
        """The loss of each example, `(batch, ...)`."""
        logits = ops.cast(y_pred, "float32")
        label = ops.one_hot(ops.cast(y_true, "int32"), logits.shape[-1], dtype="float32")
        right = ops.sum(label * logits, axis=-1)
        wrong = ops.max(ops.where(label > 0, float("-inf"), logits), axis=-1)
        lead = wrong - right
        return ops.where(lead >= 0, lead, 0.0)

    def get_config(self):
        """What rebuilds this loss."""
        return {"name": self.name, "reduction": self.reduction}
