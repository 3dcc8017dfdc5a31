"""`kerasnn doctor`: what this machine has, what TensorFlow makes of it, and runs that died without a word.

It changes one thing: a run left RUNNING by a process of this machine that is dead is closed as KILLED, and what such a
run had not brought to MLflow yet is brought there. `--dry-run` only looks.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from textwrap import wrap

import kerasnn
from kerasnn.errors import ConfigError, refuse_in_one_line, unknown
from kerasnn.tracking import abandoned
from kerasnn.tracking.abandoned import Left
from kerasnn.tracking.ending import VANISHED, say
from kerasnn.tracking.folders import RESULT
from kerasnn.tracking.store import RUNS, database_file, reachable, resolve_uri
from kerasnn.training import gpu

PACKAGES = ("tensorflow", "keras", "keras-cv", "mlflow", "hydra-core")
FORMS = ("table", "json")
LEAST_FREE_GB = 1.0  # A large network's two checkpoints with their optimizer are about that.
PATIENCE_SECONDS = 180

PROBE = """
import json
from kerasnn.training.lean_import import import_keras
import_keras()
import tensorflow as tf
from tensorflow.python.util import _pywrap_util_port
gpus = tf.config.list_physical_devices("GPU")
print(json.dumps({
    "build": tf.sysconfig.get_build_info(),
    "gpus": [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus],
    "onednn": _pywrap_util_port.IsMklEnabled(),
}))
"""
"""What only TensorFlow knows, asked in a process of its own: one that crashes at the import is a line, not an end."""


@dataclass
class Report:
    """What was found, section by section, and what of it is broken."""

    sections: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def say(self, section: str, label: str, text: str) -> None:
        """Adds a line."""
        self.sections.setdefault(section, []).append((label, text))

    def complain(self, text: str) -> None:
        """Adds something that is broken."""
        self.broken.append(text)

    def text(self) -> str:
        """The report within 80 columns."""
        lines = []
        for section, found in self.sections.items():
            lines += [section, *(line for label, text in found for line in _folded(label, text)), ""]
        verdict = [line for text in self.broken for line in _folded("broken:", text)]
        return "\n".join([*lines, *(verdict or ["Nothing is broken."])]) + "\n"

    def json(self) -> str:
        """The same for programs, and to paste into a bug report."""
        sections = {name: [dict(zip(("what", "is"), line, strict=True)) for line in found] for name, found in
                    self.sections.items()}  # fmt: skip
        return json.dumps({**sections, "broken": self.broken}, indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Looks, tidies up and prints; returns 1 where something is broken.

    Raises:
        ConfigError: no such option or form.
    """
    parser = ArgumentParser(prog="kerasnn doctor", description=__doc__.partition("\n")[0])
    refuse_in_one_line(parser)
    parser.add_argument("--uri", help="tracking store (default: MLFLOW_TRACKING_URI, else SQLite at runs/mlflow.db)")
    parser.add_argument("--dry-run", action="store_true", help="close no run, only say which are left open")
    parser.add_argument("--format", metavar="FORMAT", default="table", help=f"{', '.join(FORMS)} (default table)")
    asked = parser.parse_args(arguments)
    if asked.format not in FORMS:
        raise ConfigError(unknown("--format", asked.format, FORMS))
    report = examine(asked)
    print(report.json() if asked.format == "json" else report.text(), end="")
    return 1 if report.broken else 0


def examine(asked: Namespace) -> Report:
    """Everything, one part after the other; a part that cannot be looked at is a line, and the others go on."""
    report, probe = Report(), start_probe()  # TensorFlow is imported over there while MLflow is here.
    parts: list[tuple[str, Callable[[], None]]] = [
        ("versions", lambda: _versions(report)),
        ("disk", lambda: _disk(report)),
        ("store", lambda: _store(report, asked)),
        ("results", lambda: _results(report, asked)),
        ("devices", lambda: _devices(report, hear(probe))),
    ]
    for name, look in parts:
        try:
            look()
        except Exception as error:
            report.complain(f"{name} could not be looked at: {_one_line(error)}")
    order = ("versions", "devices", "disk", "store")
    report.sections = {name: report.sections[name] for name in order if name in report.sections}
    return report


def _versions(report: Report) -> None:
    report.say("versions", "kerasnn", kerasnn.__version__)
    report.say("versions", "Python", f"{platform.python_version()} on {platform.platform()}")
    for package in PACKAGES:
        try:
            report.say("versions", package, version(package))
        except PackageNotFoundError:
            report.say("versions", package, "not installed")
            report.complain(f"{package} is not installed: pip install kerasnn brings it")


def _disk(report: Report) -> None:
    folder = Path(RUNS).absolute()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(there).free / 1e9
    report.say("disk", "runs", f"{folder}{'' if folder.exists() else ' (not there yet)'}: {free:,.1f} GB free")
    if free < LEAST_FREE_GB:
        report.complain(f"{there} has {free:.2f} GB left: checkpoints and models will not fit")
    if not os.access(there, os.W_OK):
        report.complain(f"{there} cannot be written: runs have no place")


def _store(report: Report, asked: Namespace) -> None:
    uri = resolve_uri(asked.uri)
    report.say("store", "uri", _without_password(uri))
    if (file := database_file(uri)) and not file.exists():
        report.say("store", "runs", "none yet")
        return
    if trouble := reachable(uri):
        report.complain(f"the store cannot be reached ({trouble}): trainings go on, and keep their record for later")
        waiting = abandoned.tidy_folders(RUNS, touch=False)
    else:
        from kerasnn.tracking.mlflow import connect, read_runs

        try:
            connect(uri)
            waiting = [*abandoned.tidy_folders(RUNS, not asked.dry_run), *abandoned.tidy_store(uri, not asked.dry_run)]
            runs = read_runs(uri)
        except Exception as error:  # A database of another version of MLflow's, which says so itself.
            report.complain(f"the store cannot be read: {_one_line(error)}")
            return
        running = sum(run["status"] == "RUNNING" for run in runs)
        report.say("store", "runs", f"{len(runs):,}, {running} of them RUNNING; MLflow can read it")
    seen: set[str | None] = set()
    for left in waiting:
        if left.run_id is None or left.run_id not in seen:  # One that is elsewhere may be in a folder and in the store.
            _left(report, left)
        seen.add(left.run_id)


def _results(report: Report, asked: Namespace) -> None:
    """Results that still say RUNNING, whether or not a store was told of the run."""
    for folder in abandoned.unsaid(RUNS):
        if not asked.dry_run:
            say(folder.path, folder.name, VANISHED)
        done = "which is dead" if asked.dry_run else f"which is dead; now it says {VANISHED}"
        said = f"{os.path.relpath(folder.path)}/{RESULT} said RUNNING of a process {done}"
        report.say("disk", folder.name, said)


def _left(report: Report, left: Left) -> None:
    """One run that was left, and what became of it."""
    name = f"{left.name} ({left.run_id[:7] if left.run_id else os.path.relpath(left.folder)})"
    match left.state:
        case "elsewhere":
            report.say("store", name, f"RUNNING on {left.note}, as far as is known here: run doctor there")
        case "unknown":
            report.say("store", name, "RUNNING, and nothing says here whether its process lives: left alone")
        case "lost":
            done = f"closed as {VANISHED}" if left.done else "still RUNNING in the store"
            report.say("store", name, f"its process died without a word: {done}")
        case "waiting":
            done = "brought there now" if left.done else "not yet"
            report.say("store", name, f"it ended while the store was away; its record in MLflow: {done}")
    if left.note and left.state in ("lost", "waiting"):
        report.complain(f"{name}: {left.note}")


def start_probe() -> subprocess.Popen:
    """A fresh Python that asks TensorFlow; it sees the same packages as this process, however it came by them."""
    program = f"import sys; sys.path[:] = {sys.path!r}\n{PROBE}"
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", program], stdout=pipe, stderr=pipe, text=True)


def hear(probe: subprocess.Popen) -> dict | str:
    """What the probe found, or in one line why it found nothing."""
    try:
        answer, errors = probe.communicate(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        probe.kill()
        probe.communicate()
        return f"importing it takes more than {PATIENCE_SECONDS} s"
    if probe.returncode < 0:
        return f"importing it kills the process (signal {-probe.returncode}): a CPU without AVX, or too little memory"
    if probe.returncode:
        return (errors.strip().splitlines() or ["no reason given"])[-1]
    return json.loads(answer.splitlines()[-1])


def _devices(report: Report, told: dict | str) -> None:
    report.say("devices", "CPU", f"{_cpu()}, {_cores()} cores for this process, {_memory()}")
    if isinstance(told, str):
        report.say("devices", "TensorFlow", "cannot be imported")
        report.complain(f"TensorFlow cannot be imported: {told}")
        facts = gpu.look({})
    else:
        facts = gpu.look(told["build"])
        build = f"built for CUDA {facts.cuda}, cuDNN {told['build'].get('cudnn_version', '?')}" if facts.cuda else ""
        switched = "on" if told["onednn"] else "off (TF_ENABLE_ONEDNN_OPTS=0, or no such build)"
        report.say("devices", "TensorFlow", f"{build or 'built without CUDA'}; oneDNN {switched}")
        report.say("devices", "XLA", "trainer.jit=auto: " + ("on, with one GPU" if len(told["gpus"]) == 1 else "off"))
    for card in facts.cards:
        said = f"{card.name}, {card.memory}, driver {card.driver}, compute capability {card.capability}"
        report.say("devices", "GPU", said)
    if isinstance(told, dict):
        _gpus(report, told["gpus"], facts)


def _gpus(report: Report, seen: list[str], facts: gpu.Facts) -> None:
    if seen:
        there = max(len(facts.cards), len(seen))
        report.say("devices", "TensorFlow", f"sees {len(seen)} of {there} GPUs: {', '.join(seen)}")
        return
    reasons = gpu.why_no_gpu(facts)
    for reason in reasons:
        report.say("devices", "no GPU", reason)
    if facts.cards and not gpu.is_hidden(facts):
        report.complain(f"there is a GPU, and TensorFlow does not see it: {reasons[0]}")


def _cpu() -> str:
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return "memory unknown"
    limit = Path("/sys/fs/cgroup/memory.max")
    allowed = limit.read_text().strip() if limit.exists() else "max"
    bound = f", {int(allowed) / 1e9:.1f} GB of it for this container" if allowed.isdigit() else ""
    return f"{total / 1e9:.1f} GB of memory{bound}"


def _without_password(uri: str) -> str:
    head, at, tail = uri.rpartition("@")
    return f"{head.rpartition(':')[0]}:…@{tail}" if at and head.count(":") > 1 else uri


def _folded(label: str, text: str) -> list[str]:
    first, *rest = wrap(text, 64, break_long_words=True) or [""]
    head = [f"  {label:<12} {first}"] if len(label) <= 12 else [f"  {label}", f"{'':15}{first}"]
    return [*head, *(f"{'':15}{line}" for line in rest)]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
