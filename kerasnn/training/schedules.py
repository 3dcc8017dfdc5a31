"""Learning rates over time. Each takes the base rate and the length of the training, in steps and epochs."""

from collections.abc import Sequence

from keras.optimizers.schedules import CosineDecay, LearningRateSchedule, PiecewiseConstantDecay

from kerasnn.ranges import Count, Fraction, Probability


def constant(learning_rate: float, steps_per_epoch: int, epochs: int) -> float:
    """The same rate from the first step to the last."""
    return float(learning_rate)  # Keras refuses a whole number.


def step(
    learning_rate: float,
    steps_per_epoch: int,
    epochs: int,
    milestones: Sequence[Probability] = (0.5, 0.75),
    factor: Fraction = 0.1,
) -> LearningRateSchedule:
    """The rate falls by a factor at each milestone. He 2016: a tenth after half and after three quarters.

    Args:
        learning_rate: rate before the first milestone.
        steps_per_epoch: steps in an epoch.
        epochs: length of the training.
        milestones: shares of the training, rising.
        factor: what the rate is multiplied by at each.
    """
    boundaries = [round(share * epochs * steps_per_epoch) for share in milestones]
    rates = [learning_rate * factor**passed for passed in range(len(boundaries) + 1)]
    # Keras' boundary belongs to the rate before it: one less makes the milestone's own step the first of the new rate.
    return PiecewiseConstantDecay([boundary - 1 for boundary in boundaries], rates)


def cosine(learning_rate: float, steps_per_epoch: int, epochs: int, floor: Probability = 0.0) -> LearningRateSchedule:
    """Half a cosine from the rate to `floor` times it. Loshchilov & Hutter 2017, without restarts."""
    return CosineDecay(learning_rate, epochs * steps_per_epoch, alpha=floor)


def warmup_cosine(
    learning_rate: float,
    steps_per_epoch: int,
    epochs: int,
    warmup_epochs: Count = 2,
    floor: Probability = 0.0,
) -> LearningRateSchedule:
    """A linear rise over `warmup_epochs` (at most half of the training), then half a cosine. Goyal 2017.

    Args:
        learning_rate: the peak.
        steps_per_epoch: steps in an epoch.
        epochs: length of the training, warm-up included.
        warmup_epochs: length of the rise.
        floor: share of the peak that is left at the end.
    """
    warmup_steps = min(warmup_epochs, epochs / 2) * steps_per_epoch
    if not warmup_steps:
        return cosine(learning_rate, steps_per_epoch, epochs, floor)
    return CosineDecay(
        initial_learning_rate=learning_rate / warmup_steps,
        decay_steps=max(epochs * steps_per_epoch - round(warmup_steps), 1),
        alpha=floor,
        warmup_target=learning_rate,
        warmup_steps=round(warmup_steps),
    )
