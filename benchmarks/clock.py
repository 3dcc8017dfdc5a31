"""The clock that every Keras competitor carries: the end of the first step, begin and end of each epoch's steps.

Validation and checkpoints come after an epoch's last step and are not part of its time; what callbacks do per step is.
The times are those of the wall, so that the process that started this one can compare them with its own.
"""

import json
import sys
import time
from pathlib import Path

import keras
import tensorflow as tf


class Clock(keras.callbacks.Callback):
    def __init__(self, report: str | Path):
        super().__init__()
        self.report = Path(report)
        self.first_step = 0.0
        self.epochs: list[tuple[float, float]] = []
        self._begun = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self._begun = time.time()

    def on_train_batch_end(self, batch, logs=None):
        if not self.first_step:
            self.first_step = self._now()
        if batch + 1 == self.params["steps"]:
            self.epochs.append((self._begun, self._now()))

    def on_train_end(self, logs=None):
        facts = {
            "first_step": self.first_step,
            "epochs": self.epochs,
            "steps": self.params["steps"],
            "parameters": self.model.count_params(),
            "versions": {"Python": sys.version.split()[0], "TensorFlow": tf.__version__, "Keras": keras.__version__},
        }
        self.report.write_text(json.dumps(facts), encoding="utf-8")

    def _now(self) -> float:
        # Waits until the device has done the step; of several replicas the first, which the others have met by then.
        tf.convert_to_tensor(self.model.optimizer.iterations.value).numpy()
        return time.time()
