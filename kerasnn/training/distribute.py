"""Which devices, on which machines: strategies opened by name, and what TensorFlow must be told before it starts."""

import logging
import os
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Literal

import keras
import tensorflow as tf
from tensorflow.python.eager import context as eager

import kerasnn
from kerasnn.config.schema import Strategy
from kerasnn.errors import ConfigError, DeviceError, TrainingError
from kerasnn.training.cluster import Cluster, open_cluster
from kerasnn.training.devices import Devices
from kerasnn.training.gpu import no_gpu, unseen_gpu
from kerasnn.training.keras_mending import mend
from kerasnn.training.roll_call import RollCall

log = logging.getLogger(__name__)

MOST_STEPS, MOST_WORK = 10, 10 * 10**9  # Forward FLOPs: some tenths of a second of training on two cores.
GRACE_SECONDS = 60  # How long a training whose worker is lost may take to come out of TensorFlow, and to write.

COMMUNICATION = tf.distribute.experimental.CommunicationImplementation


def open_devices(strategy: Strategy, agreed: Mapping[str, str] | None = None) -> Devices:
    """Chooses devices and opens the strategy over them; with several workers, returns once all are there.

    Args:
        strategy: the section of the config.
        agreed: what all workers must have alike, such as the config's hash, by name.

    Raises:
        DeviceError: devices that are not there, a worker that does not appear, or TensorFlow already runs with fewer.
        ConfigError: several devices for `single`, a cluster that cannot be meant, workers with different configs.

    Example:
        >>> str(open_devices(Strategy("mirrored", devices=2)))
        '2 CPUs'
    """
    cluster = open_cluster(strategy, os.environ)
    if strategy.name == "single" and (strategy.devices or 1) > 1:
        raise ConfigError(
            f"strategy=single has one device, received strategy.devices={strategy.devices}: use strategy=mirrored"
        )
    if strategy.name == "tpu":
        return _open_tpu(strategy)
    kind, count = _claim(strategy)
    if strategy.communication == "nccl" and kind == "CPU":
        raise DeviceError("strategy.communication=nccl needs GPUs, and there are none: set strategy.communication=auto")
    if cluster:
        return _open_workers(strategy, cluster, kind, count, agreed or {})
    if count == 1 and strategy.name != "mirrored":
        return Devices(
            kind, count, tf.distribute.OneDeviceStrategy("GPU:0") if kind == "GPU" else tf.distribute.get_strategy()
        )
    return Devices(kind, count, _mirrored(strategy, kind, count))


def _claim(strategy: Strategy) -> tuple[str, int]:
    """The kind and number of this process' devices, made ready."""
    gpus = tf.config.list_physical_devices("GPU")
    if strategy.kind == "GPU" and not gpus:
        raise DeviceError(
            f"strategy.kind=GPU, but TensorFlow sees no GPU: {no_gpu(tf.sysconfig.get_build_info())}; "
            "strategy.kind=auto takes what there is"
        )
    if strategy.kind == "auto" and not gpus and (reason := unseen_gpu(tf.sysconfig.get_build_info())):
        log.warning("training on the CPU, though there is a GPU: %s", reason)
    if strategy.kind == "CPU" and gpus:
        _hide_gpus()
        gpus = []
    count = 1 if strategy.name == "single" else strategy.devices or max(len(gpus), 1)
    if gpus:
        _claim_gpus(gpus, count)
    elif strategy.name == "multi_worker" and count > 1:
        raise ConfigError(f"strategy.devices={count}: a worker without GPUs has one device; start more workers instead")
    else:
        _make_cpus(count)
    return "GPU" if gpus else "CPU", count


def _claim_gpus(gpus: list, count: int) -> None:
    if count > len(gpus):
        raise DeviceError(
            f"strategy.devices={count}, but TensorFlow sees {len(gpus)} GPU(s): ask for at most that many"
        )
    try:
        # On every card that it sees TensorFlow takes some hundred megabytes, used or not.
        tf.config.set_visible_devices(gpus[:count], "GPU")
    except RuntimeError as error:  # It runs already: in a sweep, with the cards of the run before.
        started = len(tf.config.get_visible_devices("GPU"))
        if started < count:
            raise DeviceError(
                f"strategy.devices={count}, but this process already runs TensorFlow with {started} GPU(s): "
                "start a process of its own for it (a sweep over strategy.devices: largest first)"
            ) from error
    for gpu in gpus[:count]:
        tf.config.experimental.set_memory_growth(gpu, True)


def _hide_gpus() -> None:
    """From all of TensorFlow: operations outside the strategy would still go to a GPU."""
    try:
        tf.config.set_visible_devices([], "GPU")
    except RuntimeError as error:
        raise DeviceError(
            "strategy.kind=CPU, but this process already runs TensorFlow with GPUs: start a process of its own for it"
        ) from error


def _make_cpus(count: int) -> None:
    """Splits the CPU into `count` logical devices; possible only before TensorFlow's first operation."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        if count > len(tf.config.get_logical_device_configuration(cpu) or [None]):
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError as error:
        started = len(tf.config.list_logical_devices("CPU"))
        raise DeviceError(
            f"strategy.devices={count}, but this process already runs TensorFlow with {started} CPU device(s): "
            "start a process of its own for it (a sweep over strategy.devices: largest first)"
        ) from error


def _mirrored(strategy: Strategy, kind: str, count: int) -> tf.distribute.Strategy:
    mend()
    # Synchronised batch norm reduces within a keyed group, and a second strategy of another size in this process
    # would join the first one's group and fail; TensorFlow's own tests keep their strategies apart like this.
    tf.distribute.MirroredStrategy._collective_key_base += 100_000
    wanted = _communication(strategy, kind, count)
    if count > 1:
        log.info("%d replicas add up their gradients by %s", count, wanted)
    # NCCL and the ring are TensorFlow's own choice for GPUs and CPUs, and the only one that XLA can compile.
    copies = {
        "hierarchical_copy": tf.distribute.HierarchicalCopyAllReduce,
        "copies": tf.distribute.ReductionToOneDevice,
    }
    operations = copies[wanted]() if wanted in copies else None
    return tf.distribute.MirroredStrategy([f"{kind}:{index}" for index in range(count)], operations)


def _communication(strategy: Strategy, kind: str, count: int) -> str:
    """How the replicas of one machine add up their gradients; `copies` is one after the other, on one device."""
    if strategy.communication == "auto":
        if kind == "CPU":
            return "ring"
        # NCCL is part of the Linux wheels alone.
        return "nccl" if sys.platform == "linux" else "copies" if count % 2 else "hierarchical_copy"
    if strategy.communication == "hierarchical_copy" and count % 2:  # TensorFlow halves them, and forgets the last one.
        raise ConfigError(
            f"strategy.communication=hierarchical_copy needs an even number of devices, and there are {count}: "
            "set strategy.communication=auto"
        )
    return strategy.communication


def _open_workers(strategy: Strategy, cluster: Cluster, kind: str, count: int, agreed: Mapping[str, str]) -> Devices:
    """Meets the other workers, and only then lets TensorFlow wait for them."""
    mend()
    if eager.context()._context_handle is not None:
        raise DeviceError("strategy=multi_worker needs a process in which TensorFlow has not begun: start one per run")
    # Of the section `strategy` the config's hash has next to nothing.
    alike = {"devices": f"{count} {kind}", "strategy.communication": strategy.communication}
    versions = {"kerasnn": kerasnn.__version__, "keras": keras.version(), "tensorflow": tf.__version__}
    call = RollCall(cluster, strategy.timeout_seconds, {**agreed, **versions, **alike})
    call.gather()
    call.watch(lambda loss: _abandon(call, loss))
    wanted = strategy.communication
    if wanted == "auto":
        wanted = "nccl" if kind == "GPU" else "ring"
    log.info("%s of %d is here; gradients are added up by %s", cluster.name(), len(cluster.workers), wanted)
    # TensorFlow's own watch would end a process in its own way and time; the roll call knows more, and sooner.
    eager.context().configure_coordination_service(service_type="")
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.workers)}), task_type="worker", task_id=cluster.index,
        num_accelerators={"GPU": count} if kind == "GPU" else {}, rpc_layer="grpc",
    )  # fmt: skip
    made = tf.distribute.MultiWorkerMirroredStrategy(
        resolver, tf.distribute.experimental.CommunicationOptions(implementation=COMMUNICATION[wanted.upper()])
    )
    # All workers have equally many batches: to ask at each step whether one has run out would cost another all-reduce.
    made.extended.experimental_enable_get_next_as_optional = False
    return Devices(kind, count * len(cluster.workers), made, cluster, call)


def _abandon(call: RollCall, loss: str) -> None:
    """Fetches the training out of the operation in which it waits for a worker that is gone."""
    with suppress(tf.errors.OpError, RuntimeError):
        eager.context().abort_collective_ops(tf.errors.UNAVAILABLE, loss)
    if not call.wait_for_leaving(GRACE_SECONDS):
        print(f"kerasnn: {loss}", file=sys.stderr, flush=True)
        os._exit(TrainingError.exit_code)


def _open_tpu(strategy: Strategy) -> Devices:
    """A TPU of this machine, or at an address. Not tried: no TPU was at hand."""
    if strategy.tpu:
        _check_reachable(strategy.tpu, strategy.timeout_seconds)
    elif not tf.config.list_physical_devices("TPU"):
        raise DeviceError(
            "strategy=tpu, but TensorFlow sees no TPU on this machine: run on a TPU VM with the package "
            "tensorflow-tpu, or give strategy.tpu=grpc://HOST:8470"
        )
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(strategy.tpu or "local")
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        mend()
        made = tf.distribute.TPUStrategy(resolver)
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        why = " ".join(str(error).split())[:300]  # TensorFlow's is many lines, with everything that it tried.
        raise DeviceError(f"strategy=tpu: {strategy.tpu or 'this machine'} has no TPU that answers: {why}") from error
    return Devices("TPU", made.num_replicas_in_sync, made)


def _check_reachable(address: str, timeout_seconds: float) -> None:
    host, _, port = address.removeprefix("grpc://").rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(f"strategy.tpu={address} is no address: give strategy.tpu=grpc://HOST:8470, or null")
    try:
        socket.create_connection((host, int(port)), timeout_seconds).close()
    except OSError as error:
        raise DeviceError(f"strategy.tpu={address} does not answer ({error}): is the TPU running?") from error


def prepare_process(seed: int, precision: str, deterministic: bool) -> None:
    """Puts Keras into the state that a run starts from: nothing left of the run before, seeded, in one precision."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(precision)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def use_jit(asked: bool | Literal["auto"], devices: Devices) -> bool:
    """Whether to compile with XLA: `auto` is yes on one GPU only; on a CPU it makes convolutions 4 to 8 times slower.

    Raises:
        ConfigError: asked for with several replicas, where hangs are reported (keras issue 20763).
    """
    if asked is True and devices.count > 1:
        raise ConfigError(
            f"trainer.jit=true needs one device, and there are {devices.count}, with which XLA may hang: "
            "set trainer.jit=auto, or choose strategy=single"
        )
    return (devices.kind == "GPU" and devices.count == 1) if asked == "auto" else asked


def steps_per_call(steps: int, work: int, devices: Devices) -> int:
    """How many steps TensorFlow does between two visits to Python, which cost about a millisecond each.

    At most ten, a divisor of an epoch's steps, and not so many that a call takes long: Ctrl-C, the progress bar and the
    watch for NaN wait for its end.

    Args:
        steps: of an epoch.
        work: FLOPs of a forward pass over one batch.
        devices: several replicas return to Python after each step.

    Example:
        >>> steps_per_call(200, 107_000_000, devices)      # LeNet-5 at batch 128
        10
    """
    if devices.count > 1:
        return 1
    most = min(MOST_STEPS, steps // 2, MOST_WORK // max(work, 1))
    return max((number for number in range(2, most + 1) if steps % number == 0), default=1)


def check_accumulation(optimizer: keras.optimizers.Optimizer, devices: Devices) -> None:
    """Steps are added up to an update on one device only: Keras does so in a branch, which replicas cannot meet in.

    Raises:
        ConfigError: there are several.
    """
    steps = optimizer.gradient_accumulation_steps
    if steps and devices.count > 1:
        raise ConfigError(
            f"optimizer.accumulation_steps={steps} needs one device, and there are {devices.count}: set it to 1 and "
            "take a larger trainer.batch_size, which they share, or choose strategy=single"
        )


def synchronise_batch_norm(model: keras.Model, devices: Devices) -> None:
    """Batch normalisation over the global batch, not each replica's share: their number then changes nothing."""
    if devices.count > 1:
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True
