"""Who takes part in a training on several machines: by the config, by `TF_CONFIG`, or by Slurm's environment.

Every machine runs the same command; what tells them apart is the index. Worker 0 is the chief: it alone keeps the run
folder, the checkpoints and the record. Nothing here needs TensorFlow, so that a wrong list is refused at once.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kerasnn.config.schema import Strategy
from kerasnn.errors import ConfigError

HOW = "give strategy.workers=[hostA:12345,hostB:12345] strategy.index=0, set TF_CONFIG, or start it with Slurm's srun"
PORTS = range(15_000, 25_000)
"""Where Slurm's jobs find a port without being told one: below those that Linux gives to outgoing connections."""


@dataclass(frozen=True)
class Cluster:
    """All workers by `host:port`, and which of them this process is."""

    workers: tuple[str, ...]
    index: int

    @property
    def chief(self) -> bool:
        """Whether this process keeps the record."""
        return self.index == 0

    def name(self, index: int | None = None) -> str:
        """A worker as messages name it, by default this process: `worker 1 (hostB:12345)`."""
        index = self.index if index is None else index
        return f"worker {index} ({self.workers[index]})"


def open_cluster(strategy: Strategy, environment: Mapping[str, str]) -> Cluster | None:
    """The cluster that a config asks for; None where it asks for a single process.

    Args:
        strategy: the section `strategy`.
        environment: as `os.environ`.

    Raises:
        ConfigError: no worker is named, one is named twice or has no port, or this process has no place among them.

    Example:
        >>> open_cluster(Strategy("multi_worker", workers=["a:1", "b:1"], index=1), {}).name()
        'worker 1 (b:1)'
    """
    if strategy.name != "multi_worker":
        for key in ("workers", "index", "port"):
            value = getattr(strategy, key)
            if value is not None:
                raise ConfigError(f"strategy.{key}={_plain(value)} needs strategy=multi_worker: choose it")
        return None
    cluster = _chosen(strategy, environment)
    for worker in cluster.workers:
        _check_address(worker)
    doubled = next((worker for worker in cluster.workers if cluster.workers.count(worker) > 1), None)
    if doubled:
        raise ConfigError(f"{doubled} is named twice among the workers: each needs a host or a port of its own")
    if not 0 <= cluster.index < len(cluster.workers):
        raise ConfigError(
            f"strategy.index={cluster.index} is out of range: there are {len(cluster.workers)} workers, "
            f"0 to {len(cluster.workers) - 1}"
        )
    return cluster


def _chosen(strategy: Strategy, environment: Mapping[str, str]) -> Cluster:
    """The config's own list before the environment's, which must not say otherwise."""
    told = _from_tf_config(environment["TF_CONFIG"]) if environment.get("TF_CONFIG") else None
    if strategy.workers is not None:
        workers = tuple(strategy.workers)
        if strategy.index is None:
            raise ConfigError(
                f"strategy.workers names {len(workers)} workers, but not which of them this is: "
                f"add strategy.index=0 on {workers[0] if workers else 'the first'}, 1 on the next …"
            )
        chosen = Cluster(workers, strategy.index)
        if told and told != chosen:
            raise ConfigError(
                f"strategy.workers={_plain(workers)} strategy.index={strategy.index} and TF_CONFIG "
                f"({_plain(told.workers)}, index {told.index}) differ: keep one of them"
            )
        return chosen
    if strategy.index is not None:
        raise ConfigError(f"strategy.index={strategy.index} counts strategy.workers, which are not given: {HOW}")
    if told:
        return told
    if environment.get("SLURM_STEP_NODELIST"):
        return _from_slurm(environment, strategy.port)
    raise ConfigError(f"strategy=multi_worker does not know its workers: {HOW}")


def _check_address(worker: str) -> None:
    host, separator, port = worker.rpartition(":")
    if not separator or not host:
        raise ConfigError(f"the worker '{worker}' has no port: write host:port, such as {worker or 'hostA'}:12345")
    if not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ConfigError(f"the worker '{worker}' needs a port from 1 to 65535: write host:port, such as hostA:12345")


def _from_tf_config(text: str) -> Cluster:
    """TensorFlow's own way: {"cluster": {"worker": ["hostA:1", …]}, "task": {"type": "worker", "index": 0}}.

    A `chief`, where there is one, comes before the workers, as TensorFlow has it.
    """
    try:
        told = json.loads(text)
        jobs, task = told["cluster"], told["task"]
        kind, index = task["type"], int(task["index"])
        chiefs, workers = tuple(jobs.get("chief", ())), tuple(jobs.get("worker", ()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"TF_CONFIG is not what TensorFlow takes ({type(error).__name__}: {error}): set it to "
            '{"cluster": {"worker": ["hostA:12345", …]}, "task": {"type": "worker", "index": 0}}'
        ) from error
    if kind not in ("chief", "worker") or set(jobs) - {"chief", "worker"}:
        raise ConfigError(f"TF_CONFIG has a task or job '{_other(kind, jobs)}': kerasnn knows chief and worker")
    return Cluster((*chiefs, *workers), index if kind == "chief" else len(chiefs) + index)


def _other(kind: str, jobs: Mapping[str, object]) -> str:
    return next(iter({kind, *jobs} - {"chief", "worker"}))


def _from_slurm(environment: Mapping[str, str], port: int | None) -> Cluster:
    """One worker per task of a job step, in the order of SLURM_PROCID; tasks of one node have ports in a row."""
    nodes = slurm_hosts(environment["SLURM_STEP_NODELIST"])
    try:
        index, tasks = int(environment["SLURM_PROCID"]), _slurm_counts(environment["SLURM_STEP_TASKS_PER_NODE"])
        first = port or PORTS[int(environment["SLURM_JOB_ID"]) * 16 % len(PORTS)]
    except (KeyError, ValueError) as error:
        raise ConfigError(f"Slurm's environment is incomplete ({error}): start kerasnn with srun, or {HOW}") from error
    if len(tasks) != len(nodes):
        raise ConfigError(f"Slurm names {len(nodes)} nodes, but tasks of {len(tasks)}: give strategy.workers instead")
    places = [(node, place) for node, count in enumerate(tasks) for place in range(count)]
    own = (environment.get("SLURM_NODEID"), environment.get("SLURM_LOCALID"))
    if index < len(places) and None not in own and own != tuple(map(str, places[index])):
        raise ConfigError(f"Slurm's task {index} is not where blocks would put it: add srun --distribution=block")
    return Cluster(tuple(f"{nodes[node]}:{first + place}" for node, place in places), index)


def slurm_hosts(text: str) -> list[str]:
    """The hosts of Slurm's short form.

    Raises:
        ConfigError: brackets that do not match, or a range that is none.

    Example:
        >>> slurm_hosts("login,node[01-03,7]")
        ['login', 'node01', 'node02', 'node03', 'node7']
    """
    parts = re.findall(r"(?:[^,\[\]]|\[[^\[\]]*\])+", text)
    if ",".join(parts) != text:
        raise ConfigError(f"'{text}' is no list of Slurm's nodes, such as node[01-03,7]")
    return [host for part in parts for host in _expanded(part)]


def _expanded(part: str) -> Iterator[str]:
    before, bracket, rest = part.partition("[")
    if not bracket:
        yield part
        return
    inside, _, after = rest.partition("]")
    for piece in inside.split(","):
        span = re.fullmatch(r"(\d+)(?:-(\d+))?", piece)
        if not span:
            raise ConfigError(f"'{piece}' in '{part}' is no range of Slurm's nodes, such as node[01-03,7]")
        for number in range(int(span[1]), int(span[2] or span[1]) + 1):
            yield from (f"{before}{number:0{len(span[1])}}{end}" for end in _expanded(after))


def _slurm_counts(text: str) -> list[int]:
    """Tasks per node: "2(x3),1" is [2, 2, 2, 1]."""
    pieces = [re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", piece) for piece in text.split(",")]
    if None in pieces:
        raise ValueError(f"SLURM_STEP_TASKS_PER_NODE={text}")
    return [int(piece[1]) for piece in pieces for _ in range(int(piece[2] or 1))]


def _plain(value: object) -> str:
    """A value as one would type it."""
    return f"[{','.join(value)}]" if isinstance(value, list | tuple) else str(value)
