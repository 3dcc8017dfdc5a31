"""The devices that a run was given: how many there are, what each takes of a batch, and what to do if one is lost."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import reduce
from traceback import clear_frames
from typing import Literal

import tensorflow as tf

from kerasnn.errors import KerasnnError, TrainingError
from kerasnn.training.cluster import Cluster
from kerasnn.training.roll_call import RollCall

SLACK_SECONDS = 5

# What TensorFlow raises where another worker is gone, among other things: the roll call knows which it was.
BROKEN = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)


@dataclass(frozen=True)
class Devices:
    """The devices of a run. `kind` is GPU, CPU or TPU, `count` the number of replicas, of all workers together.

    `cluster` and `call` are there where several processes train together.
    """

    kind: Literal["GPU", "CPU", "TPU"]
    count: int
    strategy: tf.distribute.Strategy
    cluster: Cluster | None = None
    call: RollCall | None = None

    def __str__(self) -> str:
        where = f" on {len(self.cluster.workers)} workers" if self.cluster else ""
        return f"{self.count} {self.kind}{'s' if self.count > 1 else ''}{where}"

    @property
    def chief(self) -> bool:
        """Whether this process keeps the run's record: of several, the first."""
        return self.cluster is None or self.cluster.chief

    def scope(self) -> AbstractContextManager:
        """Variables made inside live on every replica."""
        return self.strategy.scope()

    def share(self, stream: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
        """What this process has to do of a stream of global batches: of each batch the same part of its rows.

        On one machine TensorFlow divides each batch itself. Several compute every batch alike, since it is a function
        of (seed, epoch, step), and each takes its own rows, in the order of the workers: none is lost, none counted
        twice. Of a short batch the last replicas get less, or nothing.

        Args:
            stream: the same on every worker.
            batch_size: rows of a full batch, over all devices.
        """
        if self.cluster is None:
            return stream
        size, replicas = batch_size // self.count, self.count // len(self.cluster.workers)
        first = self.cluster.index * replicas

        def rows(replica: int, batch: tuple) -> tuple:
            return tf.nest.map_structure(lambda whole: whole[replica * size : (replica + 1) * size], batch)

        def pieces(*batch: tf.Tensor) -> tf.data.Dataset:
            own = [tf.data.Dataset.from_tensors(rows(first + number, batch)) for number in range(replicas)]
            return reduce(tf.data.Dataset.concatenate, own)

        plain = tf.autograph.experimental.do_not_convert
        one = plain(lambda *batch: rows(first, batch))
        shared = stream.map(one) if replicas == 1 else stream.flat_map(plain(pieces))
        return self.strategy.distribute_datasets_from_function(lambda _: shared.prefetch(tf.data.AUTOTUNE))

    def evaluation_batch(self, examples: int, batch_size: int) -> int:
        """The largest batch, up to `batch_size`, whose short last one leaves no replica on a CPU without an example.

        With TensorFlow 2.21 on oneDNN a convolution of no pictures may have the shape of its input; what follows fails.
        The size of a batch changes nothing of an evaluation but its time.

        Example:
            >>> two_cpus.evaluation_batch(75, 24)      # 75 = 3 * 24 + 3 = 3 * 20 + 15: of 3 the second would get none
            20
        """
        if self.kind != "CPU" or self.count == 1:
            return batch_size
        for share in range(batch_size // self.count, 0, -1):
            rest = examples % (share * self.count)
            if rest == 0 or rest > share * (self.count - 1):
                return share * self.count
        return batch_size

    @contextmanager
    def together(self) -> Iterator[None]:
        """Within it all workers train; where one is lost, all others end with a line that names it.

        Raises:
            TrainingError: another worker was lost.
        """
        if self.call is None:
            yield
            return
        try:
            yield
        except BaseException as error:
            # TensorFlow may notice first: the roll call looks every second, and on a busy machine later.
            patience = self.call.timeout_seconds + SLACK_SECONDS
            loss = self.call.wait_for_loss(patience if isinstance(error, BROKEN) else 0)
            self.call.leave(loss or _why(error))
            if loss and isinstance(error, Exception):
                clear_frames(error.__traceback__)  # They hold threads of TensorFlow's that would complain at the exit.
                raise TrainingError(loss) from error
            raise
        self.call.leave()


def _why(error: BaseException) -> str:
    """An error as one line for the other workers; the whole of it is in this one's own output."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    words = str(error) if isinstance(error, KerasnnError) else f"{type(error).__name__}: {error}"
    return words.strip().splitlines()[0]
