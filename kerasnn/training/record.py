"""What a run leaves behind: facts before the first step, numbers, figures, the model, the traceback of a failure."""

import logging
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np

from kerasnn.analysis import cost, figures, specimens
from kerasnn.data.bundle import Bundle
from kerasnn.data.stream import batch_at
from kerasnn.errors import KerasnnError
from kerasnn.tracking.tracker import Tracker
from kerasnn.training.contract import fingerprint
from kerasnn.training.result import Result

if TYPE_CHECKING:
    from kerasnn.training.run import Job

log = logging.getLogger(__name__)


def describe(job: "Job", tracker: Tracker, folder: Path, result: Result) -> None:
    """All that is known before the first step: costs, split hashes, the inputs as the network will see them."""
    counted = cost.count(job.network)
    static = {
        "cost/params_total": counted.params_total,
        "cost/params_trainable": counted.params_trainable,
        "cost/flops": counted.flops,
        "cost/weights_mb": counted.weights_mb,
    }
    say(static, tracker, result)
    if counted.uncounted:
        log.warning("cost/flops is a lower bound: no rule counts %s", ", ".join(counted.uncounted))
    result.hashes, result.facts = job.bundle.hashes, contract(job.bundle)
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
    show(specimens.inputs(job.bundle, job.policy, job.config.seed, batch, folder), tracker)
    log.info(
        "%s on %s: %s parameters, %s FLOPs per example, %s train / %s validation / %s test examples, %s",
        job.config.name, job.bundle.name, f"{counted.params_total:,}", f"{counted.flops:,}",
        *(f"{len(examples):,}" for examples in job.bundle.splits.values()), job.devices,
    )  # fmt: skip


def keep_model(job: "Job", model: keras.Model, path: Path, tracker: Tracker) -> None:
    """The best network, with two pictures and its answers to them."""
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


def contract(bundle: Bundle) -> dict[str, object]:
    """What a training that starts from this one must know: `kerasnn.training.contract.Contract` reads it."""
    told = {"input_shape": list(bundle.input_shape), "data": bundle.name, "origin": bundle.origin}
    facts = {**_facts(bundle), **told}
    return facts | ({"tokenizer": fingerprint(facts["tokenizer"])} if "tokenizer" in facts else {})


def show(path: Path, tracker: Tracker) -> None:
    """A file that was written, kept where its kind belongs."""
    tracker.artifact(path, "figures" if path.parent.name == "figures" else "")


def figure(drawn, name: str, tracker: Tracker, folder: Path) -> None:
    """A picture drawn by matplotlib, saved and kept."""
    path = folder / "figures" / f"{name}.png"
    figures.save(drawn, path)
    tracker.artifact(path, "figures")


def say(values: dict[str, float], tracker: Tracker, result: Result) -> None:
    """Numbers that are said once."""
    result.metrics.update(values)
    tracker.metrics(values)


def keep_traceback(error: BaseException, tracker: Tracker, folder: Path) -> None:
    """The whole traceback for who must mend it; the terminal shows one line."""
    path = folder / "traceback.txt"
    path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    tracker.artifact(path)
    tracker.tags({"error": str(error) if isinstance(error, KerasnnError) else repr(error)})
