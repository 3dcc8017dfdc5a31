"""A training, phase by phase: each has an optimizer and a schedule of its own, and goes on where the last one ended."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras

from kerasnn.analysis import cost
from kerasnn.config.strict import RunConfig
from kerasnn.data.stream import train_stream
from kerasnn.tracking.tracker import Tracker
from kerasnn.training import distribute, finetune
from kerasnn.training.checkpoints import Checkpoints
from kerasnn.training.finetune import Phase, PhaseRecord
from kerasnn.training.layerwise import layerwise
from kerasnn.training.losses import CrossEntropy, PerceptronLoss
from kerasnn.training.metrics import Accuracy
from kerasnn.training.optimizers import decay_kernels_only
from kerasnn.training.resume import Course

if TYPE_CHECKING:
    from kerasnn.training.run import Job

log = logging.getLogger(__name__)


def loss_of(config: RunConfig) -> keras.losses.Loss:
    """What `trainer.loss` names."""
    if config.trainer.loss == "perceptron":
        return PerceptronLoss()
    return CrossEntropy(config.trainer.label_smoothing)


def compile_phase(job: "Job", phase: Phase) -> None:
    """A new optimizer, without moments, and a schedule from its first step, for what learns in this phase.

    Args:
        job: the model, built, and what it is trained with.
        phase: how long, and how fast.
    """
    config, model, trainer = job.config, job.model, job.config.trainer
    rate = config.optimizer.arguments["learning_rate"] * phase.factor * trainer.rate_factor
    if trainer.rate_factor != 1:
        log.info(
            "learning rate %g: %s with the batch, %d instead of %d",
            rate, trainer.learning_rate_scaling, trainer.batch_size, trainer.base_batch_size,
        )  # fmt: skip
    schedule = config.schedule(learning_rate=rate, steps_per_epoch=job.steps, epochs=phase.epochs)
    work = cost.count(job.network).flops * trainer.batch_size
    with job.devices.scope():
        optimizer = config.optimizer(learning_rate=schedule)
        distribute.check_accumulation(optimizer, job.devices)
        if phase.factors:
            optimizer = layerwise(optimizer, finetune.factor_of(model, phase))
        decay_kernels_only(optimizer, model)
        model.compile(
            optimizer,
            loss=loss_of(config),
            metrics=[Accuracy()],
            jit_compile=distribute.use_jit(trainer.jit, job.devices),
            steps_per_execution=distribute.steps_per_call(job.steps, work, job.devices),
        )


def begin_phase(job: "Job", phase: Phase) -> int:
    """Freezes and unfreezes what the phase says, and compiles; returns how many numbers then learn.

    Args:
        job: with a section `finetune`.
        phase: one of its phases; updates of low rank come with the first that is begun.
    """
    settings = job.config.finetune
    if settings.lora_rank and not finetune.has_lora(job.model):
        with job.devices.scope():
            finetune.add_lora(job.model, settings.lora_rank, job.fresh)
    count = finetune.prepare(job.model, phase, settings, job.fresh)
    compile_phase(job, phase)
    return count


class NoCheckpoints(keras.callbacks.Callback):
    """In the place of `Checkpoints` on workers other than the chief, which keeps what all have trained.

    Args:
        course: gives the callbacks back what they remember, of a training that goes on.
    """

    best_epoch = 0  # None is known here.

    def __init__(self, course: Course):
        super().__init__()
        self._course = course

    def on_train_begin(self, logs=None):
        """What `Checkpoints` does there too."""
        self._course.remind()

    def write(self, last: bool = True):
        """Writes nothing."""


def fit(
    job: "Job",
    callbacks: Sequence[keras.callbacks.Callback],
    validation,
    course: Course,
    checkpoints: Checkpoints | NoCheckpoints,
    tracker: Tracker,
) -> None:
    """Trains through all phases, or those that are left. A callback that ends a phase early lets the next one begin.

    Args:
        job: compiled, where there is but one phase.
        callbacks: all of them, in order; each phase begins and ends a training for them.
        validation: the stream to validate by.
        course: counts the epochs that are done.
        checkpoints: the last of the callbacks; written after each phase too, since the next one starts from another set
            of layers.
        tracker: gets what learns, by epoch.
    """
    trainer, settings = job.config.trainer, job.config.finetune
    for number, phase in enumerate(job.phases, start=1):
        if course.passed(number):
            continue
        further = []
        if settings:
            count = begin_phase(job, phase)
            further = [PhaseRecord(tracker, course.record.history, number, count)]
        with job.devices.scope():
            if not course.begin(number, phase, job.model):
                continue
        stream = train_stream(
            job.bundle, seed=job.config.seed, batch_size=trainer.batch_size, epochs=course.last_epoch,
            first_epoch=course.epochs, steps_per_epoch=job.steps, augment=job.policy if job.policy.ops else None,
        )  # fmt: skip
        job.model.fit(
            job.devices.share(stream, trainer.batch_size),
            initial_epoch=course.epochs,
            epochs=course.last_epoch,
            steps_per_epoch=job.steps,
            validation_data=validation,
            callbacks=[*callbacks, *further, checkpoints],
            shuffle=False,
            verbose=0,
        )
        checkpoints.write()
