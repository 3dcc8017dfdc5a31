"""What a training tells about itself: the interface, the tracker that says nothing, and the one that remembers.

The tracker that runs use is `kerasnn.tracking.spool.SpoolTracker`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

Status = Literal["FINISHED", "FAILED", "KILLED"]


class Tracker(ABC):
    """One run's record. No method raises because of where the record goes: a tracker never stops a training.

    The order is `start`, then anything in any order, then `finish`.
    """

    @abstractmethod
    def start(
        self,
        name: str,
        experiment: str,
        tags: Mapping[str, object],
        params: Mapping[str, object],
        parent: str | None = None,
    ) -> None:
        """Opens the run.

        Args:
            name: the run's name, such as "vgg16".
            experiment: what the run is listed under.
            tags: facts about the circumstances, such as versions (see `environment_tags`).
            params: what was chosen for this run, such as `{"model": "vgg16", "seed": 3}`.
            parent: the run folder of the sweep that this run belongs to.
        """

    @abstractmethod
    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Records numbers, such as `{"val/loss": 0.3}`; `step` is the epoch, None for what is said once."""

    @abstractmethod
    def tags(self, values: Mapping[str, object]) -> None:
        """Adds or replaces tags."""

    @abstractmethod
    def artifact(self, path: str | Path, folder: str = "") -> None:
        """Keeps a file, or a folder's files, under `folder` of the run's artifacts."""

    @abstractmethod
    def dataset(
        self,
        name: str,
        context: str,
        digest: str,
        source: str,
        examples: int,
        input_shape: Sequence[int],
        num_classes: int,
        input_dtype: str = "float32",
        label_shape: Sequence[int] = (),
    ) -> None:
        """Says which examples were used, and for what.

        Args:
            name: the data set's name, such as "cifar10".
            context: "training", "validation" or "test".
            digest: the content hash of this split.
            source: where the set comes from.
            examples: how many there are in this split.
            input_shape: of one example as the model sees it, such as `(height, width, channels)`.
            num_classes: how many classes there are.
            input_dtype: "float32" for pictures, "int32" for tokens.
            label_shape: of one example's labels; `()` is one class.
        """

    @abstractmethod
    def model(
        self,
        path: str | Path,
        input_example: np.ndarray,
        output_example: np.ndarray,
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        """Keeps a trained model with its signature.

        Args:
            path: the `.keras` file.
            input_example: a small batch as the model takes it, `(batch, height, width, channels)`.
            output_example: what the model answers to it, `(batch, num_classes)`.
            metadata: further facts to keep with the model.
        """

    @abstractmethod
    def finish(self, status: Status = "FINISHED") -> str | None:
        """Closes the run; returns the id it is found under, None where there is none (yet)."""


class NoTracker(Tracker):
    """Keeps nothing: `tracking=none`."""

    def start(self, name, experiment, tags, params, parent=None):
        """Does nothing."""

    def metrics(self, values, step=None):
        """Does nothing."""

    def tags(self, values):
        """Does nothing."""

    def artifact(self, path, folder=""):
        """Does nothing."""

    def dataset(
        self, name, context, digest, source, examples, input_shape, num_classes, input_dtype="float32", label_shape=()
    ):
        """Does nothing."""

    def model(self, path, input_example, output_example, metadata=None):
        """Does nothing."""

    def finish(self, status="FINISHED"):
        """Does nothing, and returns None: there is no run to be found."""


class MemoryTracker(Tracker):
    """Keeps everything in plain attributes: the fake for tests, and for a notebook that wants the numbers at hand.

    Example:
        >>> tracker = MemoryTracker()
        >>> tracker.start("lenet5", "first steps", tags={}, params={"seed": 0})
        >>> tracker.metrics({"val/loss": 0.5}, step=1)
        >>> tracker.history["val/loss"], tracker.values["val/loss"]
        ([(1, 0.5)], 0.5)
    """

    def __init__(self):
        self.started: dict[str, object] = {}
        self.params: dict[str, object] = {}
        self.tagged: dict[str, object] = {}
        self.history: dict[str, list[tuple[int | None, float]]] = {}
        self.artifacts: list[tuple[Path, str]] = []
        self.datasets: list[dict[str, object]] = []
        self.models: list[dict[str, object]] = []
        self.status: str | None = None

    @property
    def values(self) -> dict[str, float]:
        """The last value of each metric."""
        return {name: points[-1][1] for name, points in self.history.items()}

    def start(self, name, experiment, tags, params, parent=None):
        """Keeps the name, experiment and parent in `started`, the rest in `tagged` and `params`."""
        self.started = {"name": name, "experiment": experiment, "parent": parent}
        self.tagged.update(tags)
        self.params.update(params)

    def metrics(self, values, step=None):
        """Appends `(step, value)` to each metric's `history`."""
        for name, value in values.items():
            self.history.setdefault(name, []).append((step, float(value)))

    def tags(self, values):
        """Updates `tagged`."""
        self.tagged.update(values)

    def artifact(self, path, folder=""):
        """Appends `(path, folder)` to `artifacts`."""
        self.artifacts.append((Path(path), folder))

    def dataset(
        self, name, context, digest, source, examples, input_shape, num_classes, input_dtype="float32", label_shape=()
    ):
        """Appends a dictionary of the arguments to `datasets`."""
        self.datasets.append(
            {
                "name": name,
                "context": context,
                "digest": digest,
                "source": source,
                "examples": examples,
                "input_shape": tuple(input_shape),
                "num_classes": num_classes,
                "input_dtype": input_dtype,
                "label_shape": tuple(label_shape),
            }
        )

    def model(self, path, input_example, output_example, metadata=None):
        """Appends a dictionary of the arguments to `models`."""
        self.models.append(
            {
                "path": Path(path),
                "input_example": np.asarray(input_example),
                "output_example": np.asarray(output_example),
                "metadata": dict(metadata or {}),
            }
        )

    def finish(self, status="FINISHED"):
        """Keeps `status`; the run's id is "memory"."""
        self.status = status
        return "memory"
