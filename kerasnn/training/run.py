"""One run from a checked config to a result: data, devices, model, training, test, record."""

import logging
import time
import traceback
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
from kerasnn.errors import DataError, KerasnnError, ModelError
from kerasnn.models import heads
from kerasnn.tracking.tracker import Tracker
from kerasnn.training import compatibility, distribute, finetune, phases, sources
from kerasnn.training.callbacks import Checkpoints, EpochRecord, ProgressLog, StopOnNaN
from kerasnn.training.distribute import Devices
from kerasnn.training.ema import MovingAverage
from kerasnn.training.finetune import Phase
from kerasnn.training.result import Result

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
        folder: for checkpoints, figures, `config.yaml` and `result.json`.

    Raises:
        KerasnnError: what cannot be built, read or trained; the run is then marked FAILED.
        KeyboardInterrupt: after the run was marked KILLED, with what was reached kept.
    """
    result = Result(config.name, config.choices, config.seed)
    try:
        _run(config, tracker, folder, result)
    except KeyboardInterrupt:
        result.status = "KILLED"
        raise
    except BaseException as error:
        result.status = "FAILED"
        _keep_traceback(error, tracker, folder)
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
    job = build(config)
    _describe(job, tracker, folder, result)
    _pretrain(job, tracker, result)
    seen = _fit(job, tracker, folder, result)
    best = keras.saving.load_model(seen.best, compile=False)
    _test(job, best, tracker, folder, result)
    _keep_model(job, best, seen.best, tracker)
    if job.bundle.test.labels.ndim > 1:  # Last, since a network that writes does so one token at a time.
        _show(specimens.writing(best, job.bundle, config.seed, folder), tracker)


def build(config: RunConfig) -> Job:
    """Everything that a training needs, each part from its recipe; the model inside the strategy's scope."""
    devices = distribute.open_devices(config.strategy.name, config.strategy.devices)
    distribute.prepare_process(config.seed, config.trainer.precision, config.trainer.deterministic)
    check_shares(config.trainer.batch_size, devices.count)
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
    sources.check_batch(bundle, np.asarray(inputs))
    return bundle, frozenset((*report.skipped, *report.missing))


def _describe(job: Job, tracker: Tracker, folder: Path, result: Result) -> None:
    """All that is known before the first step: costs, split hashes, the inputs as the network will see them."""
    counted = cost.count(job.network)
    static = {
        "cost/params_total": counted.params_total,
        "cost/params_trainable": counted.params_trainable,
        "cost/flops": counted.flops,
        "cost/weights_mb": counted.weights_mb,
    }
    _say(static, tracker, result)
    if counted.uncounted:
        log.warning("cost/flops is a lower bound: no rule counts %s", ", ".join(counted.uncounted))
    result.hashes, result.facts = job.bundle.hashes, _contract(job.bundle)
    tracker.tags({"device": str(job.devices), **{f"hash.{name}": value for name, value in result.hashes.items()}})
    for name, context in (("train", "training"), ("validation", "validation"), ("test", "test")):
        examples, bundle = job.bundle.splits[name], job.bundle
        tracker.dataset(
            bundle.name,
            context,
            result.hashes[name],
            bundle.origin,
            len(examples),
            bundle.input_shape,
            bundle.num_classes,
            "int32" if bundle.kind == "tokens" else "float32",
            examples.labels.shape[1:],
        )
    (folder / "model_summary.txt").write_text(cost.layer_text(job.network), encoding="utf-8")
    tracker.artifact(folder / "model_summary.txt")
    if job.bundle.tokenizer:
        (folder / "tokenizer.json").write_text(job.bundle.tokenizer.to_json(), encoding="utf-8")
        tracker.artifact(folder / "tokenizer.json")
    batch = job.config.trainer.batch_size
    _show(specimens.inputs(job.bundle, job.policy, job.config.seed, batch, folder), tracker)
    log.info(
        "%s on %s: %s parameters, %s FLOPs per example, %s train / %s validation / %s test examples, %s",
        job.config.name, job.bundle.name, f"{counted.params_total:,}", f"{counted.flops:,}",
        *(f"{len(examples):,}" for examples in job.bundle.splits.values()), job.devices,
    )  # fmt: skip


def _pretrain(job: Job, tracker: Tracker, result: Result) -> None:
    """A phase before `fit` that needs no labels, where the model has one; what it tracks joins the history."""
    config = job.config
    if config.pretrain is None:
        return
    begun = time.perf_counter()
    result.history |= config.pretrain(
        model=job.model, bundle=job.bundle, tracker=tracker, seed=config.seed, batch_size=config.trainer.batch_size
    )
    _say({"cost/pretrain_seconds": time.perf_counter() - begun}, tracker, result)


def _fit(job: Job, tracker: Tracker, folder: Path, result: Result) -> Checkpoints:
    trainer, bundle = job.config.trainer, job.bundle
    record = EpochRecord(tracker, trainer.batch_size)
    validation = evaluation_stream(bundle.validation, bundle, batch_size=trainer.batch_size)
    average, chosen = _chosen(job, folder=folder, tracker=tracker, validation=validation, record=record)
    checkpoints = Checkpoints(folder / "checkpoints", *average)
    progress = ProgressLog(trainer.epochs, job.steps, trainer.batch_size)
    begun = time.perf_counter()
    try:
        callbacks = [StopOnNaN(), *average, record, checkpoints, progress, *chosen]
        phases.fit(job, callbacks, validation, record, checkpoints, tracker)
    except Exception as error:
        checkpoints.write(last=False)
        raise reading_error(error) or error from error
    except KeyboardInterrupt:
        checkpoints.write()  # Amid an epoch too: what was reached is kept.
        raise
    finally:
        progress.close()
        result.history |= record.history
        _say({"cost/train_seconds": time.perf_counter() - begun}, tracker, result)
        if checkpoints.best_epoch:
            best = {"best/epoch": checkpoints.best_epoch, "best/val_accuracy": checkpoints.best_accuracy}
            if average:  # 1 where the kept weights are the average, 0 where they are the raw ones.
                best["best/ema"] = float(checkpoints.best_weights == "average")
            _say(best, tracker, result)
            drawn = figures.curves(record.history, checkpoints.best_epoch, checkpoints.best_weights == "average")
            _figure(drawn, "curves", tracker, folder)
    return checkpoints


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
    _say({"test/loss": seen.loss, "test/accuracy": seen.accuracy, **further, **costs}, tracker, result)
    if bundle.test.labels.ndim == 1:
        _figure(figures.confusion(seen.confusion(), bundle.class_names), "confusion", tracker, folder)
        if seen.accuracy < 1:
            _show(specimens.mistakes(bundle, seen, folder), tracker)


def _keep_model(job: Job, model: keras.Model, path: Path, tracker: Tracker) -> None:
    images, _ = batch_at(job.bundle, seed=job.config.seed, batch_size=job.config.trainer.batch_size, epoch=0, step=0)
    example = np.asarray(images[:2])
    answer = keras.ops.convert_to_numpy(model(example, training=False))
    tracker.model(path, example, answer, _facts(job.bundle))


def _facts(bundle: Bundle) -> dict[str, object]:
    """What one needs to know to ask the model anything: how its inputs are made, and what its answers stand for."""
    if bundle.kind == "tokens":
        return {"class_names": list(bundle.class_names), "input": "tokens", "tokenizer": bundle.tokenizer.to_json()}
    return {
        "class_names": list(bundle.class_names),
        "mean": list(bundle.mean),
        "deviation": list(bundle.deviation),
        "input": "pictures scaled to [0, 1], then (x - mean) / deviation per channel",
    }


def _contract(bundle: Bundle) -> dict[str, object]:
    """What a training that starts from this one must know: `kerasnn.training.sources.Contract` reads it."""
    facts = {**_facts(bundle), "input_shape": list(bundle.input_shape)}
    return facts | ({"tokenizer": sources.fingerprint(facts["tokenizer"])} if "tokenizer" in facts else {})


def _show(path: Path, tracker: Tracker) -> None:
    tracker.artifact(path, "figures" if path.parent.name == "figures" else "")


def _figure(figure, name: str, tracker: Tracker, folder: Path) -> None:
    path = folder / "figures" / f"{name}.png"
    figures.save(figure, path)
    tracker.artifact(path, "figures")


def _say(values: dict[str, float], tracker: Tracker, result: Result) -> None:
    result.metrics.update(values)
    tracker.metrics(values)


def _keep_traceback(error: BaseException, tracker: Tracker, folder: Path) -> None:
    """The whole traceback for who must mend it; the terminal shows one line."""
    path = folder / "traceback.txt"
    path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    tracker.artifact(path)
    tracker.tags({"error": str(error) if isinstance(error, KerasnnError) else repr(error)})
