"""Optimizers by their textbook names; weight decay reaches kernels only."""

import keras
from keras.optimizers.schedules import LearningRateSchedule

from kerasnn.ranges import Fraction, NonNegativeFloat, Positive, PositiveFloat

LearningRate = float | LearningRateSchedule


def sgd(
    learning_rate: PositiveFloat = 0.05,
    weight_decay: NonNegativeFloat = 0.0,
    clipnorm: PositiveFloat | None = None,
    accumulation_steps: Positive = 1,
) -> keras.optimizers.Optimizer:
    """Plain stochastic gradient descent: w ← w − learning_rate · gradient. Robbins & Monro 1951.

    Args:
        learning_rate: step size, or a schedule of it by step.
        weight_decay: share of each kernel taken off per step, times the learning rate.
        clipnorm: longest gradient, over all weights together; None does not clip.
        accumulation_steps: steps whose mean gradient makes one update, for a batch that memory cannot hold: with 4, a
            `trainer.batch_size` of 32 updates as one of 128 does, every fourth step.
    """
    return keras.optimizers.SGD(
        learning_rate, weight_decay=weight_decay or None, **_gradients(clipnorm, accumulation_steps)
    )


def momentum(
    learning_rate: PositiveFloat = 0.01,
    momentum: Fraction = 0.9,
    weight_decay: NonNegativeFloat = 0.0,
    clipnorm: PositiveFloat | None = None,
    accumulation_steps: Positive = 1,
) -> keras.optimizers.Optimizer:
    """Gradient descent with momentum: v ← momentum · v − learning_rate · gradient; w ← w + v. Polyak 1964."""
    return keras.optimizers.SGD(
        learning_rate,
        momentum=momentum,
        weight_decay=weight_decay or None,
        **_gradients(clipnorm, accumulation_steps),
    )


def nesterov(
    learning_rate: PositiveFloat = 0.01,
    momentum: Fraction = 0.9,
    weight_decay: NonNegativeFloat = 0.0,
    clipnorm: PositiveFloat | None = None,
    accumulation_steps: Positive = 1,
) -> keras.optimizers.Optimizer:
    """Momentum that looks ahead: the gradient counts where the velocity leads. Nesterov 1983, Sutskever 2013."""
    return keras.optimizers.SGD(
        learning_rate,
        momentum=momentum,
        nesterov=True,
        weight_decay=weight_decay or None,
        **_gradients(clipnorm, accumulation_steps),
    )


def adam(
    learning_rate: PositiveFloat = 1e-3,
    beta_1: Fraction = 0.9,
    beta_2: Fraction = 0.999,
    epsilon: PositiveFloat = 1e-7,
    clipnorm: PositiveFloat | None = None,
    accumulation_steps: Positive = 1,
) -> keras.optimizers.Optimizer:
    """Steps scaled by running moments of the gradient. Kingma & Ba 2015, algorithm 1."""
    return keras.optimizers.Adam(learning_rate, beta_1, beta_2, epsilon, **_gradients(clipnorm, accumulation_steps))


def adamw(
    learning_rate: PositiveFloat = 1e-3,
    beta_1: Fraction = 0.9,
    beta_2: Fraction = 0.999,
    epsilon: PositiveFloat = 1e-7,
    weight_decay: NonNegativeFloat = 0.01,
    clipnorm: PositiveFloat | None = None,
    accumulation_steps: Positive = 1,
) -> keras.optimizers.Optimizer:
    """Adam with decay apart from the gradient. Loshchilov & Hutter 2019, algorithm 2."""
    return keras.optimizers.AdamW(
        learning_rate, weight_decay, beta_1, beta_2, epsilon, **_gradients(clipnorm, accumulation_steps)
    )


def rmsprop(
    learning_rate: PositiveFloat = 1e-3,
    rho: Fraction = 0.9,
    momentum: Fraction = 0.0,
    epsilon: PositiveFloat = 1e-7,
    weight_decay: NonNegativeFloat = 0.0,
    clipnorm: PositiveFloat | None = None,
    accumulation_steps: Positive = 1,
) -> keras.optimizers.Optimizer:
    """Steps divided by a running root mean square of the gradient. Tieleman & Hinton 2012, lecture 6.5."""
    return keras.optimizers.RMSprop(
        learning_rate,
        rho,
        momentum,
        epsilon,
        weight_decay=weight_decay or None,
        **_gradients(clipnorm, accumulation_steps),
    )


def _gradients(clipnorm: float | None, accumulation_steps: int) -> dict:
    """What every optimizer does with gradients before it uses them, as Keras calls it."""
    steps = accumulation_steps if accumulation_steps > 1 else None  # Keras refuses 1.
    return {"global_clipnorm": clipnorm, "gradient_accumulation_steps": steps}


def decay_kernels_only(optimizer: keras.optimizers.Optimizer, model: keras.Model) -> None:
    """Keeps weight decay off everything but kernels: biases and the scales of normalisation are left alone."""
    if optimizer.weight_decay:
        spared = [variable for variable in model.trainable_variables if "kernel" not in variable.name]
        optimizer.exclude_from_weight_decay(var_list=spared)
