"""Examples per second and efficiency of 1, 2 and 4 replicas, and what an all-reduce costs by size.

python benchmarks/scaling.py --model resnet20 --batch-size 64 --json scaling.json

The devices are the GPUs of this machine, or else logical devices of its CPU. These share the same cores: they cannot be
faster together than one, and what they lose against it is what replicas cost in copies, waiting and Python. Every
number comes from a fresh process, in turns; a training is `python -m kerasnn` itself.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
from compare_frameworks import HERE, machine, turned

from kerasnn.training import gpu

KB, MB = 2**10, 2**20
SIZES = (KB, 16 * KB, 256 * KB, 4 * MB, 64 * MB, 256 * MB)
SMALL_SIZES = SIZES[:3]

# Between logical devices of a CPU TensorFlow's own choice is the ring; between GPUs it is NCCL.
WAYS = {"CPU": ("ring", "hierarchical_copy", "one_device"), "GPU": ("nccl", "hierarchical_copy", "one_device")}


def draw_pictures(path: Path, shape: Sequence[int], examples: int, batch_size: int) -> Path:
    """Random pictures: nothing is downloaded, and the speed of a network does not depend on what they show."""
    draw = np.random.default_rng(0)
    arrays = {}
    for name, count in {"train": examples, "validation": batch_size, "test": batch_size}.items():
        arrays[f"{name}_images"] = draw.integers(0, 256, (count, *shape), dtype=np.uint8)
        arrays[f"{name}_labels"] = (np.arange(count) % 10).astype(np.int32)
    np.savez(path, **arrays)
    return path


def in_process(command: list, folder: Path) -> str:
    """What a fresh process prints; its failure is the end of this one."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "KERASNN_"))}
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, env={**kept, "PYTHONPATH": str(HERE.parent)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        said = (done.stdout + done.stderr)[-4000:]
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{said}")
    return done.stdout


def training_rate(options: argparse.Namespace, replicas: int) -> float:
    """Examples per second of `python -m kerasnn`, its first epoch left out."""
    global_batch = options.batch_size * (1 if options.fixed else replicas)
    overrides = [
        f"model={options.model}", f"data={options.data}", f"trainer.batch_size={global_batch}",
        f"trainer.epochs={options.epochs}", "tracking=none", "strategy=single",
    ]  # fmt: skip
    if replicas > 1:
        overrides[-1:] = ["strategy=mirrored", f"strategy.devices={replicas}"]
    shape = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3)}[options.data]
    with tempfile.TemporaryDirectory(prefix="scaling-") as folder:
        pictures = draw_pictures(Path(folder, "pictures.npz"), shape, options.steps * global_batch, global_batch)
        in_process([sys.executable, HERE / "timed_kerasnn.py", pictures, "report.json", *overrides], Path(folder))
        facts = json.loads(Path(folder, "report.json").read_text(encoding="utf-8"))
    steady = facts["epochs"][1:]
    return len(steady) * facts["steps"] * global_batch / sum(end - begun for begun, end in steady)


def all_reduce_seconds(options: argparse.Namespace, way: str, replicas: int) -> dict[int, float]:
    """The median seconds of an all-reduce of each size."""
    sizes = [str(size) for size in (SMALL_SIZES if options.quick else SIZES)]
    command = [sys.executable, __file__, "--measure", way, "--replicas", str(replicas), "--sizes", *sizes]
    with tempfile.TemporaryDirectory(prefix="scaling-") as folder:
        answer = in_process(command, Path(folder))
    return {int(size): seconds for size, seconds in json.loads(answer.splitlines()[-1]).items()}


def measure(way: str, replicas: int, sizes: Sequence[int]) -> dict[int, float]:
    """In the process that it is called in: opens the replicas and adds up tensors of float32 between them."""
    from kerasnn.training.lean_import import import_keras

    import_keras()
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
    operations = {
        "nccl": tf.distribute.NcclAllReduce,
        "hierarchical_copy": tf.distribute.HierarchicalCopyAllReduce,
        "one_device": tf.distribute.ReductionToOneDevice,
    }
    strategy = tf.distribute.MirroredStrategy(
        [f"{'GPU' if gpus else 'CPU'}:{number}" for number in range(replicas)],
        operations[way]() if way in operations else None,
    )
    return {size: _time_all_reduce(strategy, size) for size in sizes}


def _time_all_reduce(strategy, size: int) -> float:
    import tensorflow as tf

    count = size // 4
    with strategy.scope():
        gradient = tf.Variable(tf.ones([count]))

    @tf.function
    def reduce():
        def replica():
            total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradient.read_value())
            return total[0] + total[-1]  # The rest of it stays on the device.

        return strategy.run(replica)

    def once() -> float:
        begun = time.perf_counter()
        sums = {float(value) for value in strategy.experimental_local_results(reduce())}
        taken = time.perf_counter() - begun
        if sums != {2.0 * strategy.num_replicas_in_sync}:
            sys.exit(f"an all-reduce of ones over {strategy.num_replicas_in_sync} replicas came to {sums}")
        return taken

    for _ in range(3):  # Traces, and makes the buffers.
        once()
    return median(once() for _ in range(max(5, min(50, 64 * MB // size))))


def rates_table(rates: dict[int, list[float]]) -> str:
    """A row per number of replicas; the speed-up is against one, the efficiency its share of the ideal."""
    base = median(rates[min(rates)])
    lines = ["| replicas | examples/s (min–max) | speed-up | efficiency |", "| ---: | ---: | ---: | ---: |"]
    for replicas, values in sorted(rates.items()):
        speed_up = median(values) / base * min(rates)
        spread = f"{median(values):,.0f} ({min(values):,.0f}–{max(values):,.0f})"
        lines.append(f"| {replicas} | {spread} | {speed_up:.2f} | {speed_up / replicas:.0%} |")
    return "\n".join(lines)


def costs_table(costs: dict[tuple[str, int], list[dict[int, float]]]) -> str:
    """A row per size: milliseconds, and the GB/s through each replica: 2(n - 1)/n of the size in that time."""
    lines = ["| all-reduce of |", "| ---: |"]
    for way, replicas in costs:
        lines[0] += f" {way}, {replicas} |"
        lines[1] += " ---: |"
    for size in next(iter(costs.values()))[0]:
        taken = {pair: median(one[size] for one in repeats) for pair, repeats in costs.items()}
        cells = [_cost(size, replicas, seconds) for (_, replicas), seconds in taken.items()]
        lines.append(f"| {_size(size)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cost(size: int, replicas: int, seconds: float) -> str:
    passed = 2 * (replicas - 1) / replicas * size
    return f"{seconds * 1e3:.2f} ms, {passed / seconds / 1e9:.2g} GB/s"


def _size(size: int) -> str:
    return f"{size // MB} MB" if size >= MB else f"{size // KB} KB"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet20", help="any network of pictures (default resnet20)")
    parser.add_argument("--data", choices=("mnist", "cifar10"), default="cifar10", help="whose shape to draw")
    parser.add_argument("--batch-size", type=int, default=64, help="of each replica (default 64)")
    parser.add_argument("--fixed", action="store_true", help="--batch-size is of all replicas together")
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--ways", nargs="*", help="of adding up: nccl or ring, hierarchical_copy, one_device (all)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5, help="of an epoch")
    parser.add_argument("--epochs", type=int, default=4, help="the first of them is not counted")
    parser.add_argument("--json", type=Path, help="where every single value goes")
    parser.add_argument("--quick", action="store_true", help="a few steps each: does it run? The numbers mean nothing")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--sizes", type=int, nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.quick:
        asked.batch_size, asked.steps, asked.epochs, asked.repeats = 8, 2, 2, 1
    return asked


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    if options.measure:
        print(json.dumps(measure(options.measure, options.replicas[0], options.sizes)))
        return
    here, kind = machine(), device_kind()
    rates: dict[int, list[float]] = {}
    costs: dict[tuple[str, int], list[dict[int, float]]] = {}
    several = [replicas for replicas in options.replicas if replicas > 1]
    ways = WAYS[kind] if options.ways is None else options.ways
    # TensorFlow's hierarchical copy halves the replicas, and forgets the last of an odd number.
    pairs = [(way, count) for count in several for way in ways if way != "hierarchical_copy" or count % 2 == 0]
    for repeat in range(options.repeats):
        for replicas in turned(list(options.replicas), repeat):
            rates.setdefault(replicas, []).append(training_rate(options, replicas))
            print(f"{replicas} replicas: {rates[replicas][-1]:,.1f} examples/s", file=sys.stderr, flush=True)
        for pair in pairs:
            costs.setdefault(pair, []).append(all_reduce_seconds(options, *pair))
    whose = "of all replicas together" if options.fixed else "per replica"
    print("{cpu}, {cores} cores, {system}, load before {load}".format(**here))
    print(f"{options.model}, batch {options.batch_size} {whose}, replicas on {kind}s", end="\n\n")
    print(rates_table(rates))
    if pairs:
        print(f"\n{costs_table(costs)}")
    if options.json:
        told = [{"way": way, "replicas": count, "seconds": repeats} for (way, count), repeats in costs.items()]
        chosen = {key: getattr(options, key) for key in ("model", "batch_size", "fixed", "steps", "repeats", "quick")}
        record = {"machine": here, "kind": kind, **chosen, "examples_per_second": rates, "all_reduce": told}
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def device_kind() -> str:
    """GPU where the driver lists one and the environment hides none; TensorFlow is not imported for it."""
    facts = gpu.look({})
    return "GPU" if facts.cards and not gpu.is_hidden(facts) else "CPU"


if __name__ == "__main__":
    main()
