"""What is counted while training: the share of labels that are predicted."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerasnn")
class Accuracy(keras.metrics.Mean):
    """The share of labels whose class has the highest logit.

    Labels: integers `(batch, ...)`, of which negative ones stand for none and are not counted; or shares
    `(batch, ..., classes)`, of which the largest is the label. Logits: `(batch, ..., classes)`.

    Example:
        >>> Accuracy()([0, 1, -1], [[2.0, 1.0], [2.0, 1.0], [2.0, 1.0]])      # one of two: 0.5
    """

    def __init__(self, name: str = "accuracy", dtype=None):
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Counts a batch; `sample_weight` `(batch, ...)` weighs its labels."""
        labels = ops.convert_to_tensor(y_true)
        labels = ops.argmax(labels, axis=-1) if labels.ndim == len(y_pred.shape) else labels
        labels = ops.cast(labels, "int32")
        counted = ops.cast(labels >= 0, self.dtype)
        if sample_weight is not None:
            counted = counted * ops.cast(sample_weight, self.dtype)
        super().update_state(ops.equal(ops.cast(ops.argmax(y_pred, axis=-1), "int32"), labels), counted)
