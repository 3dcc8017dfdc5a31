"""A training, phase by phase: each has an optimizer and a schedule of its own, and goes on where the last one ended."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras

from kerasnn.analysis import cost
from kerasnn.config.strict import RunConfig
from kerasnn.data.stream import train_stream
from kerasnn.tracking.tracker import Tracker
from kerasnn.training import distribute, finetune
from kerasnn.training.callbacks import Checkpoints, EpochRecord
from kerasnn.training.finetune import Phase, PhaseRecord
from kerasnn.training.layerwise import layerwise
from kerasnn.training.losses import CrossEntropy, PerceptronLoss
from kerasnn.training.metrics import Accuracy
from kerasnn.training.optimizers import decay_kernels_only

if TYPE_CHECKING:
    from kerasnn.training.run import Job


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
    rate = config.optimizer.arguments["learning_rate"] * phase.factor
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
        phase: one of its phases; updates of low rank come with the first.
    """
    settings = job.config.finetune
    if settings.lora_rank and phase is job.phases[0]:
        with job.devices.scope():
            finetune.add_lora(job.model, settings.lora_rank, job.fresh)
    count = finetune.prepare(job.model, phase, settings, job.fresh)
    compile_phase(job, phase)
    return count


def fit(
    job: "Job",
    callbacks: Sequence[keras.callbacks.Callback],
    validation,
    record: EpochRecord,
    checkpoints: Checkpoints,
    tracker: Tracker,
) -> None:
    """Trains through all phases. A callback that ends a phase early lets the next one begin.

    Args:
        job: compiled, where there is but one phase.
        callbacks: all of them, in order; each phase begins and ends a training for them.
        validation: the stream to validate by.
        record: counts the epochs that are done.
        checkpoints: written after each phase, since the next one starts from another set of layers.
        tracker: gets what learns, by epoch.
    """
    trainer, settings = job.config.trainer, job.config.finetune
    for number, phase in enumerate(job.phases, start=1):
        further = []
        if settings:
            count = begin_phase(job, phase)
            further = [PhaseRecord(tracker, record.history, number, count)]
        done = len(record.history.get("train/loss", ()))
        stream = train_stream(
            job.bundle, seed=job.config.seed, batch_size=trainer.batch_size, epochs=done + phase.epochs,
            first_epoch=done, steps_per_epoch=job.steps, augment=job.policy if job.policy.ops else None,
        )  # fmt: skip
        job.model.fit(
            stream,
            initial_epoch=done,
            epochs=done + phase.epochs,
            steps_per_epoch=job.steps,
            validation_data=validation,
            callbacks=[*callbacks, *further],
            shuffle=False,
            verbose=0,
        )
        checkpoints.write()
