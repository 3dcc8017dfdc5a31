"""Three faults of Keras 3 with replicas, mended while they last (the first two: keras issue 20585).

1. Before the first step Keras builds the model from the mean of the replicas' batches. Pieces of unequal size (43 and
   42 of a batch of 85) cannot be added, and across machines a batch that lives on one of them cannot be reduced at all.
   Only shapes are wanted there: a piece of this process has them.
2. Across machines the logs of a step are averaged over the first axis of what are single numbers, which have none.
3. Dropout draws alike on every replica: `kerasnn.training.shared_dropout`.

Each mending looks for its fault in the source of the Keras that is installed, and leaves alone what does not have it.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from keras.src import tree
from keras.src.backend.tensorflow import random, trainer

from kerasnn.training.shared_dropout import shared

FIRST, LAST = (3, 5), (3, 15)
"""The versions of Keras that were seen to have the first two, by their first two numbers."""


@dataclass(frozen=True)
class Fault:
    """What is wrong, how its source betrays it, and what takes its place in `owner`."""

    summary: str
    owner: object
    name: str
    sign: str
    mended: Callable

    @property
    def present(self) -> bool:
        """Whether the installed Keras still has it, or had it before it was mended here."""
        found = getattr(self.owner, self.name)
        return self.sign in inspect.getsource(getattr(found, "faulty", found))


def mend() -> list[str]:
    """Mends what is faulty, once, and says what was.

    Example:
        >>> mend()
        ['the model is built from a mean of the batch', 'single numbers are averaged over their first axis', …]
    """
    present = [fault for fault in FAULTS if fault.present]
    for fault in present:
        found = getattr(fault.owner, fault.name)
        if not hasattr(found, "faulty"):
            fault.mended.faulty = found
            setattr(fault.owner, fault.name, fault.mended)
    return [fault.summary for fault in present]


def _maybe_symbolic_build(self, iterator=None, data_batch=None):
    """As Keras has it, but for the batch: a piece of it that this process holds."""
    if self._distribute_strategy is None:
        return
    if iterator is not None:
        for _, _, batches in iterator:
            data_batch = tree.map_structure(
                lambda value: self.distribute_strategy.experimental_local_results(value)[0], next(batches)
            )
            break
    with self.distribute_strategy.scope():
        self._symbolic_build(data_batch=data_batch)


def _reduce_per_replica(values, strategy, reduction):
    """As Keras has it, but for the mean across machines."""
    if reduction in ("auto", "mean") and trainer._collective_all_reduce_multi_worker(strategy):
        return tree.map_structure(lambda value: strategy.reduce("MEAN", value, axis=None), values)
    return _reduce_per_replica.faulty(values, strategy, reduction)


FAULTS = (
    Fault(
        "the model is built from a mean of the batch",
        trainer.TensorFlowTrainer,
        "_maybe_symbolic_build",
        "self.distribute_strategy.reduce(",
        _maybe_symbolic_build,
    ),
    Fault(
        "single numbers are averaged over their first axis",
        trainer,
        "reduce_per_replica",
        'strategy.reduce("MEAN", v, axis=0)',
        _reduce_per_replica,
    ),
    Fault(
        "dropout draws alike on every replica",
        random,
        "dropout",
        "return tf.nn.experimental.stateless_dropout(",
        shared(random.dropout),
    ),
)
