"""`python -m kerasnn` as it is, with one more callback, the clock, and the pictures that its competitors train on.

python timed_kerasnn.py pictures.npz report.json model=vgg16 data=cifar10 trainer.epochs=5
"""

import sys
from dataclasses import replace

from kerasnn.cli import main
from kerasnn.config import task

pictures, report, *overrides = sys.argv[1:]
checked = task.checked


def with_clock(composed, choices):
    config = checked(composed, choices)
    return replace(config, data=source, callbacks={**config.callbacks, "clock": clock})


def source():
    import numpy as np

    from kerasnn.data.bundle import ArrayExamples, Source

    with np.load(pictures) as file:
        train, validation, test = (
            ArrayExamples(file[f"{name}_images"], file[f"{name}_labels"]) for name in ("train", "validation", "test")
        )
    names = tuple(map(str, range(int(train.labels.max()) + 1)))
    return Source("timed", train, names, test, validation)


def clock(**at_hand):
    from clock import Clock  # Which imports Keras: not before kerasnn does.

    return Clock(report)


task.checked = with_clock
sys.exit(main(overrides))
