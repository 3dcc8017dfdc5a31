"""What to do once validation has stopped to improve: end the training, or lower its learning rate."""

from typing import Literal

import keras

from kerasnn.ranges import Count, Fraction, NonNegativeFloat, Positive

Monitor = Literal["val_accuracy", "val_loss"]


def early_stopping(
    monitor: Monitor = "val_accuracy",
    patience: Positive = 10,
    min_delta: NonNegativeFloat = 0.0,
) -> keras.callbacks.Callback:
    """Ends a training that has stopped to improve.

    Args:
        monitor: what must improve: accuracy up or loss down, on the validation split.
        patience: epochs without improvement after which to end.
        min_delta: what counts as an improvement.
    """
    return keras.callbacks.EarlyStopping(monitor, min_delta, patience, mode=_mode(monitor))


def reduce_on_plateau(
    monitor: Monitor = "val_loss",
    patience: Positive = 5,
    factor: Fraction = 0.1,
    min_delta: NonNegativeFloat = 0.0,
    cooldown: Count = 0,
    min_learning_rate: NonNegativeFloat = 0.0,
) -> keras.callbacks.Callback:
    """Lowers the learning rate of a training that has stopped to improve; it needs `schedule=constant`.

    Args:
        monitor: what must improve: accuracy up or loss down, on the validation split.
        patience: epochs without improvement after which to lower.
        factor: what the rate is multiplied by.
        min_delta: what counts as an improvement.
        cooldown: epochs after a lowering in which the patience is not counted.
        min_learning_rate: the rate never falls below it.
    """
    return keras.callbacks.ReduceLROnPlateau(
        monitor,
        factor,
        patience,
        mode=_mode(monitor),
        min_delta=min_delta,
        cooldown=cooldown,
        min_lr=min_learning_rate,
    )


def _mode(monitor: str) -> str:
    return "max" if monitor == "val_accuracy" else "min"
