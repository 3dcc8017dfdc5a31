"""Further records of a training, for those who ask: a table of its epochs, and TensorBoard's own files."""

import csv
from pathlib import Path

import keras

from kerasnn.tracking.tracker import Tracker
from kerasnn.training.callbacks import EpochRecord


class EpochTable(keras.callbacks.Callback):
    """Keeps `history.csv`: a row per epoch, with every number that was recorded of it, under the same names.

    Args:
        folder: where the file goes.
        record: knows the numbers; it comes before this one among the callbacks.
        tracker: gets the table once the training has ended.
    """

    def __init__(self, folder: Path, record: EpochRecord, tracker: Tracker):
        super().__init__()
        self.path = folder / "history.csv"
        self.record = record
        self.tracker = tracker
        self._rows: list[dict[str, float]] = []

    def on_epoch_end(self, epoch, logs=None):
        """Writes the table anew: a number may have come up that earlier epochs lack, such as the speed."""
        self._rows.append({"epoch": epoch + 1, **self.record.latest})
        names = list(dict.fromkeys(name for row in self._rows for name in row))
        with open(self.path, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self._rows)

    def on_train_end(self, logs=None):
        """Hands the table over."""
        self.tracker.artifact(self.path)


def tensorboard(folder: Path, histograms: bool = False) -> keras.callbacks.Callback:
    """Writes what `tensorboard --logdir runs` shows, into the run's own folder. Needs the package tensorboard.

    Args:
        folder: the run's; the files go into `tensorboard` within it.
        histograms: of every weight, after each epoch.
    """
    return keras.callbacks.TensorBoard(
        folder / "tensorboard", histogram_freq=int(histograms), write_graph=False, profile_batch=0
    )
