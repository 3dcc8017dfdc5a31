"""kerasnn beside plain Keras, as written and at its best, and PyTorch: images/s, seconds to the first step, whole runs.

    python benchmarks/compare_frameworks.py --torch-python ~/torch/bin/python --json speed.json

Every competitor trains in a fresh process of its own, and in each repeat another one begins; printed are medians with
the least and the most, and ratios of medians. A busy machine says little, so its load is printed too. The scripts
beside this one are the competitors: read them, and make them faster.

- images/s: random pictures held in memory, float32, Adam; the steps of all epochs but the first, without validation.
- to the first step: from the start of the process to the end of its first training step.
- whole run: LeNet-5 on the digits with validation in each epoch and a test at the end, from the start of the process to
  its end. kerasnn also tracks, draws, saves and measures: a first run makes the MLflow store, a later one finds it.

PyTorch is timed where `--torch-python` names a Python that has it; autolog where TensorBoard is installed, or lies in
the folder that `--tensorboard` names (pip install --no-deps --target FOLDER tensorboard).
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from comparison import (
    AS_WRITTEN,
    AUTOLOG,
    BEST,
    FIRST,
    KERASNN,
    LATER,
    TORCH,
    WHOLE_RUN,
    Series,
    first_step,
    markdown,
    rate,
)

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Workload:
    """One network on one kind of picture; `data` is the kerasnn set whose preparation the pictures get."""

    name: str
    model: str
    data: str
    shape: tuple[int, int, int]
    steps: int
    epochs: int
    batch_size: int = 128


# Small enough to repeat, long enough for a steady rate: on two cores LeNet-5 steps in 10 ms, VGG16 in over a second.
LENET5 = Workload("LeNet-5", "lenet5", "mnist", (28, 28, 1), steps=200, epochs=12)
VGG16 = Workload("VGG16", "vgg16", "cifar10", (32, 32, 3), steps=5, epochs=5)
DIGITS_EPOCHS = 20


class Bench:
    """Runs the competitors in a scratch folder and keeps what they took."""

    def __init__(self, options: argparse.Namespace, scratch: Path):
        self.options = options
        self.scratch = scratch
        self.series: dict[tuple[str, str], Series] = {}
        self.parameters: dict[str, int] = {}
        self.versions = {"kerasnn": version("kerasnn"), "MLflow": version("mlflow")}

    def run(self) -> None:
        small = {"steps": 2, "epochs": 2, "batch_size": 8} if self.options.quick else {}
        for repeat in range(self.options.repeats):
            for workload in (LENET5, VGG16):
                if workload.model in self.options.only:
                    self._speeds(replace(workload, **small), repeat)
            if "digits" in self.options.only:
                self._whole_runs(1 if self.options.quick else DIGITS_EPOCHS, repeat)

    def _speeds(self, workload: Workload, repeat: int) -> None:
        pictures = draw_pictures(self.scratch / f"{workload.model}.npz", workload)
        training = [
            "--model", workload.model, "--data", pictures, "--epochs", workload.epochs,
            "--batch-size", workload.batch_size, "--report", "report.json",
        ]  # fmt: skip
        overrides = [
            f"model={workload.model}", f"data={workload.data}", f"trainer.epochs={workload.epochs}",
            f"trainer.batch_size={workload.batch_size}",
        ]  # fmt: skip
        plain = [sys.executable, HERE / "plain_keras.py", *training]
        commands = {
            KERASNN: [sys.executable, HERE / "timed_kerasnn.py", pictures, "report.json", *overrides],
            BEST: [*plain, "--variant", "best"],
            AS_WRITTEN: [*plain, "--variant", "as_written"],
            TORCH: [self.options.torch_python, HERE / "plain_torch.py", *training],
        }
        for who in turned(list(commands), repeat):
            if who == TORCH and not self.options.torch_python:
                self._absent(rate(workload.name), who, "needs torch: --torch-python")
                self._absent(first_step(workload.name), who, "needs torch: --torch-python")
            else:
                self._speed(workload, who, commands[who])

    def _speed(self, workload: Workload, who: str, command: list) -> None:
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            begun, _ = self._process(command, Path(folder))
            facts = json.loads(Path(folder, "report.json").read_text(encoding="utf-8"))
        if self.parameters.setdefault(workload.name, facts["parameters"]) != facts["parameters"]:
            sys.exit(f"{workload.name} of {who} has another number of parameters: {facts['parameters']:,}")
        self.versions.update(facts["versions"])
        steady = facts["epochs"][1:]
        images = len(steady) * facts["steps"] * workload.batch_size
        self._add(rate(workload.name), who, images / sum(end - begin for begin, end in steady))
        self._add(first_step(workload.name), who, facts["first_step"] - begun)

    def _whole_runs(self, epochs: int, repeat: int) -> None:
        pictures = keep_digits(self.scratch / "digits.npz")
        training = ["--model", "lenet5", "--data", pictures, "--epochs", epochs]
        commands = {
            KERASNN: ["-m", "kerasnn", f"trainer.epochs={epochs}"],
            BEST: [HERE / "plain_keras.py", *training, "--variant", "best"],
            AS_WRITTEN: [HERE / "plain_keras.py", *training, "--variant", "as_written"],
            AUTOLOG: [HERE / "plain_keras_autolog.py", *training],
        }
        for who in turned(list(commands), repeat):
            with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
                for kind in (FIRST, LATER) if who in (KERASNN, AUTOLOG) else ("",):
                    if who == AUTOLOG and not (self.options.tensorboard or find_spec("tensorboard")):
                        self._absent(WHOLE_RUN, who + kind, "needs TensorBoard: --tensorboard")
                    else:
                        begun, ended = self._process([sys.executable, *commands[who]], Path(folder))
                        self._add(WHOLE_RUN, who + kind, ended - begun)

    def _process(self, command: list, folder: Path) -> tuple[float, float]:
        """When the process was started, and when it had ended."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "KERASNN_"))}
        path = os.pathsep.join(filter(None, (str(HERE.parent), self.options.tensorboard)))
        with open(folder / "output.txt", "w+", encoding="utf-8") as output:
            begun = time.time()
            done = subprocess.run(
                [str(word) for word in command], cwd=folder, env={**kept, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
            ended = time.time()
            if done.returncode:
                output.seek(0)
                sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{output.read()[-4000:]}")
        return begun, ended

    def _add(self, section: str, who: str, value: float) -> None:
        self.series.setdefault((section, who), Series(section, who)).values.append(value)
        print(f"{section}, {who}: {value:,.1f}", file=sys.stderr, flush=True)

    def _absent(self, section: str, who: str, why: str) -> None:
        self.series.setdefault((section, who), Series(section, who)).absent = why


def turned(names: list[str], by: int) -> list[str]:
    """The same circle, entered elsewhere: nobody always runs after the heaviest."""
    by %= len(names)
    return names[by:] + names[:by]


def draw_pictures(path: Path, workload: Workload) -> Path:
    """Random pictures: nothing is downloaded, and the speed of a network does not depend on what they show."""
    draw = np.random.default_rng(0)
    arrays = {}
    size = workload.batch_size
    for name, examples in {"train": workload.steps * size, "validation": size, "test": size}.items():
        arrays[f"{name}_images"] = draw.integers(0, 256, (examples, *workload.shape), dtype=np.uint8)
        arrays[f"{name}_labels"] = (np.arange(examples) % 10).astype(np.int32)
    np.savez(path, **arrays)
    return path


def keep_digits(path: Path) -> Path:
    """The very splits that kerasnn trains on, at 32×32: the plain scripts are spared reading and resizing."""
    from kerasnn.data.bundle import make_bundle
    from kerasnn.data.decode import load_examples
    from kerasnn.data.digits import digits

    bundle = make_bundle(digits(), image_size=32, resize="stretch")
    arrays = {}
    for name, split in bundle.splits.items():
        arrays[f"{name}_images"] = load_examples(split, bundle.input_shape, bundle.resize)
        arrays[f"{name}_labels"] = split.labels
    np.savez(path, **arrays)
    return path


def machine() -> dict[str, str | int | float]:
    """What ran it. The load is that of the minute before."""
    found = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in found if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.platform(terse=True),
        "load": round(os.getloadavg()[0], 1),
    }


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--only", nargs="+", choices=("lenet5", "vgg16", "digits"), default=["lenet5", "vgg16", "digits"]
    )
    here = sys.executable if find_spec("torch") else None
    parser.add_argument("--torch-python", default=here, help="a Python that has PyTorch")
    parser.add_argument("--tensorboard", help="a folder that TensorBoard lies in, for autolog")
    parser.add_argument("--json", type=Path, help="where every single value goes")
    parser.add_argument("--quick", action="store_true", help="a few steps each: does it run? The numbers mean nothing")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options, here = parse(arguments), machine()
    with tempfile.TemporaryDirectory(prefix="compare-frameworks-") as scratch:
        bench = Bench(options, Path(scratch))
        bench.run()
    print("{cpu}, {cores} cores, {system}, load before {load}".format(**here))
    print(", ".join(f"{name} {number}" for name, number in bench.versions.items()))
    print("; ".join(f"{name}: {count:,} parameters" for name, count in bench.parameters.items()), end="\n\n")
    print(markdown(list(bench.series.values())))
    if options.json:
        record = {
            "machine": here,
            "versions": bench.versions,
            "parameters": bench.parameters,
            "repeats": options.repeats,
            "quick": options.quick,
            "series": [asdict(series) for series in bench.series.values()],
        }
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
