"""One run from a checked config to a result: data, devices, model, training, test, record."""

import hashlib
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from kerasnn.analysis import cost, figures, specimens
from kerasnn.analysis.evaluate import evaluate, evaluate_sequences
from kerasnn.augment.policy import Policy, make_policy
from kerasnn.config.recipe import Recipe
from kerasnn.config.schema import check_shares
from kerasnn.config.strict import RunConfig
from kerasnn.data.bundle import Bundle, Source, make_bundle
from kerasnn.data.stream import batch_at, count_steps, evaluation_stream, reading_error
from kerasnn.errors import DataError, ModelError, TrainingError
from kerasnn.models import heads
from kerasnn.tracking.tracker import Tracker
from kerasnn.training import compatibility, distribute, finetune, phases, resume, sources
from kerasnn.training.callbacks import EpochRecord, ProgressLog, StopOnNaN
from kerasnn.training.checkpoints import Checkpoints
from kerasnn.training.distribute import Devices
from kerasnn.training.ema import MovingAverage
from kerasnn.training.finetune import Phase
from kerasnn.training.record import describe, figure, keep_model, keep_traceback, say, show
from kerasnn.training.result import Result
from kerasnn.training.resume import Course, State

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What a run works with, once everything is built. `network` is what is left of `model` after training.

    `phases` are the parts of the training, one after the other; `fresh` the layers that no weights were found for.
    """

    config: RunConfig
    bundle: Bundle
    devices: Devices
    model: keras.Model
    policy: Policy
    steps: int
    phases: list[Phase]
    fresh: frozenset[str]

    @property
    def network(self) -> keras.Model:
        """The model without what only serves its training, such as auxiliary heads."""
        return heads.main_network(self.model)


def run(config: RunConfig, tracker: Tracker, folder: Path) -> Result:
    """Trains, tests with the best weights, and leaves the record in `folder` and with `tracker`.

    Args:
        config: what to do.
        tracker: started here, and finished with the status that the run came to.
        folder: for checkpoints, figures, `config.yaml` and `result.json`; this process' own, by
            `kerasnn.tracking.folders.held` where others may know of it.

    Raises:
        KerasnnError: what cannot be built, read or trained; the run is then marked FAILED.
        KeyboardInterrupt: after the run was marked KILLED, with what was reached kept.
    """
    result = Result(config.name, config.choices, config.seed, digest=config.digest)
    result.save(folder / "result.json")  # RUNNING: what is left where this process is killed outright.
    try:
        _run(config, tracker, folder, result)
        result.status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):  # The other is how submitit ends a task that is queued again.
        result.status = "KILLED"
        raise
    except BaseException as error:
        result.status = "FAILED"
        keep_traceback(error, tracker, folder)
        raise
    finally:
        result.save(folder / "result.json")
        tracker.artifact(folder / "result.json")
        result.run_id = tracker.finish(result.status)
        result.save(folder / "result.json")
    return result


def _run(config: RunConfig, tracker: Tracker, folder: Path, result: Result) -> None:
    (folder / "config.yaml").write_text(config.yaml, encoding="utf-8")
    tracker.artifact(folder / "config.yaml")
    start = resume.open_start(config.resume)
    devices = distribute.open_devices(config.strategy, {"config": config.digest, **_begun(config, start)})
    with devices.together():
        job = build(config, devices)
        describe(job, tracker, folder, result)
        seen = _fit(job, tracker, folder, result)
    if not devices.chief:  # Of several workers one is enough to test and to keep what all have trained.
        return
    best = keras.saving.load_model(seen.best, compile=False)
    _test(job, best, tracker, folder, result)
    keep_model(job, best, seen.best, tracker)
    if job.bundle.test.labels.ndim > 1:  # Last, since a network that writes does so one token at a time.
        show(specimens.writing(best, job.bundle, config.seed, folder), tracker)


def _begun(config: RunConfig, start: tuple[Path, State] | None) -> dict[str, str]:
    """What a training goes on from, by which several workers see whether they go on from the same."""
    if config.strategy.name != "multi_worker":
        return {}
    if start is None:
        return {"resumed run": "none"}
    path, state = start
    with open(path, "rb") as file:
        content = hashlib.file_digest(file, "blake2s").hexdigest()
    return {
        "resumed run": path.parents[1].name,
        "resumed at": f"phase {state.phase}, epoch {state.done}",
        "checkpoint": content,
    }


def build(config: RunConfig, devices: Devices | None = None) -> Job:
    """Everything that a training needs, each part from its recipe; the model inside the strategy's scope.

    Args:
        config: what to build.
        devices: on which; None opens what the config asks for.
    """
    devices = devices or distribute.open_devices(config.strategy)
    distribute.prepare_process(config.seed, config.trainer.precision, config.trainer.deterministic)
    check_shares(config.trainer.batch_size, devices.count)
    distribute.use_jit(config.trainer.jit, devices)  # Asked now: what cannot be is refused before anything is read.
    cost.reset_peak_memory()
    source = config.data()
    if not isinstance(source, Source):  # As a plug-in's may be.
        raise DataError(f"{_returned(config.data, source)}: a data source must return a kerasnn.data.bundle.Source")
    source = sources.with_tokenizer_of(config.weights, source, config.tracking.uri)
    bundle = make_bundle(source, **config.bundle)
    policy = make_policy(config.augment, bundle, config.trainer.epochs)
    compatibility.check_choices(config, bundle, policy)
    steps = count_steps(len(bundle.train), config.trainer.batch_size, config.trainer.steps_per_epoch)
    with devices.scope():
        model = config.model(
            input_shape=bundle.input_shape, num_classes=bundle.num_classes, vocab_size=bundle.vocab_size
        )
        if not isinstance(model, keras.Model):
            raise ModelError(f"{_returned(config.model, model)}: a model's builder must return a keras.Model")
        compatibility.check_model(heads.main_network(model), bundle)
        bundle, fresh = _start(config, model, bundle) if config.weights else (bundle, frozenset())
        if config.strategy.synchronise_batch_norm:
            distribute.synchronise_batch_norm(model, devices)
    plan = finetune.plan(config.finetune, model, fresh, config.trainer.epochs)
    job = Job(config, bundle, devices, model, policy, steps, plan, fresh)
    phases.compile_phase(job, plan[0])
    return job


def _returned(recipe: Recipe, made: object) -> str:
    return f"{recipe.target} returned {'None' if made is None else f'an object of the class {type(made).__name__}'}"


def _start(config: RunConfig, model: keras.Model, bundle: Bundle) -> tuple[Bundle, frozenset[str]]:
    """Loads the weights to start from; returns the bundle as they expect it, and the layers that got none."""
    start = sources.open_start(config.weights, model.name, config.tracking.uri)
    bundle = start.apply(bundle)
    report = start.load(model, bundle.class_names)
    log.info("from %s: %s", start.label, report)
    inputs, _ = batch_at(bundle, seed=config.seed, batch_size=config.trainer.batch_size, epoch=0, step=0)
    start.check(bundle, np.asarray(inputs), config.bundle)
    return bundle, frozenset((*report.skipped, *report.missing))


def _pretrain(job: Job, tracker: Tracker, result: Result) -> None:
    """A phase before `fit` that needs no labels; what it tracks joins the history."""
    config, begun = job.config, time.perf_counter()
    result.history |= config.pretrain(
        model=job.model, bundle=job.bundle, tracker=tracker, seed=config.seed, batch_size=config.trainer.batch_size
    )
    say({"cost/pretrain_seconds": time.perf_counter() - begun}, tracker, result)


def _fit(job: Job, tracker: Tracker, folder: Path, result: Result) -> Checkpoints | phases.NoCheckpoints:
    trainer, bundle = job.config.trainer, job.bundle
    record = EpochRecord(tracker, trainer.batch_size)
    size = job.devices.evaluation_batch(len(bundle.validation), trainer.batch_size)
    validation = job.devices.share(evaluation_stream(bundle.validation, bundle, batch_size=size), size)
    average, chosen = _chosen(job, folder=folder, tracker=tracker, validation=validation, record=record)
    start = resume.open_start(job.config.resume)
    if start:
        log.info("%s goes on after epoch %d, by %s", job.config.name, start[1].done, os.path.relpath(start[0]))
    if start is None and job.config.pretrain:
        _pretrain(job, tracker, result)
    course = Course(record, [*average, *chosen], result, start)
    if job.devices.chief:
        checkpoints = Checkpoints(folder / "checkpoints", average[0] if average else None, course)
    else:
        checkpoints = phases.NoCheckpoints(course)
    if job.config.pretrain and not (start or job.config.finetune):
        with job.devices.scope():
            checkpoints.begin(job.model)
    progress = ProgressLog(trainer.epochs, job.steps, trainer.batch_size)
    try:
        callbacks = [StopOnNaN(), *average, record, progress, *chosen]
        phases.fit(job, callbacks, validation, course, checkpoints, tracker)
    except Exception as error:
        _rescue(checkpoints, error)
        raise reading_error(error) or error from error
    except (KeyboardInterrupt, SystemExit):
        checkpoints.write()  # Amid an epoch too: the last that ended is kept.
        raise
    finally:
        progress.close()
        result.history |= record.history
        say({"cost/train_seconds": course.seconds}, tracker, result)
        if checkpoints.best_epoch:
            best = {"best/epoch": checkpoints.best_epoch, "best/val_accuracy": checkpoints.best_accuracy}
            if average:  # 1 where the kept weights are the average, 0 where they are the raw ones.
                best["best/ema"] = float(checkpoints.best_weights == "average")
            say(best, tracker, result)
            drawn = figures.curves(record.history, checkpoints.best_epoch, checkpoints.best_weights == "average")
            figure(drawn, "curves", tracker, folder)
    return checkpoints


def _rescue(checkpoints: Checkpoints | phases.NoCheckpoints, error: Exception) -> None:
    """Keeps what was reached, but for weights that broke; the failure that is told stays the first one."""
    try:
        checkpoints.write(last=not isinstance(error, TrainingError))
    except Exception as further:  # Of the disk, or of devices that no longer answer.
        log.warning("what was reached since the last checkpoint could not be kept: %s", " ".join(str(further).split()))


def _chosen(job: Job, **at_hand: object) -> tuple[list[MovingAverage], list[keras.callbacks.Callback]]:
    """The callbacks that the config names: the average of the weights, if any, and the others.

    The average comes before all, so that they find what it adds to an epoch's numbers.
    """
    made = [callback(**at_hand) for callback in job.config.callbacks.values()]
    average = [callback for callback in made if isinstance(callback, MovingAverage)][:1]
    return average, [callback for callback in made if callback not in average]


def _test(job: Job, model: keras.Model, tracker: Tracker, folder: Path, result: Result) -> None:
    """The one look at the test split, with the best weights."""
    bundle, loss = job.bundle, phases.loss_of(job.config)
    stream = evaluation_stream(bundle.test, bundle, batch_size=job.config.trainer.batch_size)
    if bundle.test.labels.ndim == 1:
        seen = evaluate(model, stream, bundle.test.labels, loss)
        further = {}
    else:
        seen = evaluate_sequences(model, stream, loss)
        further = {"test/perplexity": seen.perplexity}
    costs = {"cost/latency_ms": cost.measure_latency(model), "cost/peak_memory_mb": cost.peak_memory_mb()}
    say({"test/loss": seen.loss, "test/accuracy": seen.accuracy, **further, **costs}, tracker, result)
    if bundle.test.labels.ndim == 1:
        figure(figures.confusion(seen.confusion(), bundle.class_names), "confusion", tracker, folder)
        if seen.accuracy < 1:
            show(specimens.mistakes(bundle, seen, folder), tracker)
