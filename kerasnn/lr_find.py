"""`kerasnn lr_find`: a range test of the learning rate, for the overrides that a training would take.

Smith 2017, Cyclical Learning Rates for Training Neural Networks. The rate rises from step to step until the loss
leaves; nothing is kept but the curve.
"""

import csv
import math
import os
from argparse import ArgumentParser, ArgumentTypeError
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kerasnn.errors import ConfigError, refuse_in_one_line
from kerasnn.training.lean_import import import_keras

if TYPE_CHECKING:
    from kerasnn.config.strict import RunConfig
    from kerasnn.training.range_test import RangeTest

STEPS, FIRST, LAST = 100, 1e-6, 10.0


def main(arguments: list[str]) -> int:
    """Trains some steps at rising rates, draws the loss, and says which rate it suggests.

    Raises:
        KerasnnError: a config that cannot be meant, data that cannot be read, a loss that never fell.
    """
    parser = ArgumentParser(prog="kerasnn lr_find", description=__doc__.partition("\n")[0])
    refuse_in_one_line(parser)
    parser.add_argument("overrides", nargs="*", help="as of a training, such as model=vgg16 data=cifar10")
    parser.add_argument("-cd", "--config-dir", metavar="FOLDER", help="a further folder of YAML files")
    parser.add_argument("--steps", type=_steps, default=STEPS, metavar="N", help=f"at most (default {STEPS})")
    parser.add_argument("--first", type=_rate, default=FIRST, metavar="RATE", help=f"lowest (default {FIRST:g})")
    parser.add_argument("--last", type=_rate, default=LAST, metavar="RATE", help=f"highest (default {LAST:g})")
    parser.add_argument("--out", metavar="FILE", help="default runs/lr_find/MODEL_DATA_OPTIMIZER.png")
    asked = parser.parse_intermixed_args(arguments)
    if asked.first >= asked.last:
        raise ConfigError(f"--first {asked.first:g} must be lower than --last {asked.last:g}")
    config = _config(asked.overrides, asked.config_dir)
    names = "_".join(config.choices[group] for group in ("model", "data", "optimizer"))
    path = Path(asked.out or f"runs/lr_find/{names}.png")
    import_keras()
    found = find(config, asked.steps, asked.first, asked.last)
    print(_answer(found, config, asked.steps))
    _keep(found, path)
    print(f"  {os.path.relpath(path)}  the curve; {path.with_suffix('.csv').name} beside it")
    return 0


def find(config: "RunConfig", steps: int = STEPS, first: float = FIRST, last: float = LAST) -> "RangeTest":
    """The range test of a config; its schedule and callbacks play no part, and of its phases the first is tested.

    Args:
        config: what a training would do; with `trainer=finetune`, what learns is what its first phase lets learn, such
            as the head alone.
        steps: at most so many.
        first: the rate of the first step, as `optimizer.learning_rate` has it: the optimizer gets it times the factors
            of the phase and of the batch. So it is with all rates here.
        last: the rate that the last would have.
    """
    from kerasnn.config.recipe import Recipe
    from kerasnn.data.stream import train_stream
    from kerasnn.training import phases
    from kerasnn.training.range_test import range_test
    from kerasnn.training.run import build

    job = build(replace(config, schedule=Recipe("kerasnn.training.schedules.constant")))
    if config.finetune:
        phases.begin_phase(job, job.phases[0])
    stream = train_stream(
        job.bundle,
        seed=config.seed,
        batch_size=config.trainer.batch_size,
        epochs=math.ceil(steps / job.steps),
        steps_per_epoch=job.steps,
        augment=job.policy if job.policy.ops else None,
    )
    factor = job.phases[0].factor * config.trainer.rate_factor  # As a training has it, `phases.compile_phase`.
    return range_test(job.model, stream, steps, first, last, factor)


def _config(overrides: list[str], further: str | None) -> "RunConfig":
    from kerasnn.config.compose import check, parse_overrides, search_path_override

    for override in parse_overrides(overrides):
        if override.is_sweep_override():
            raise ConfigError(f"'{override.input_line}' gives several values: a range test takes one, or key=[a,b]")
    config = check([*overrides, *search_path_override(further)])
    if config.strategy.name == "multi_worker":
        raise ConfigError("lr_find is for one machine: choose strategy=mirrored, which has all its devices")
    return config


def _answer(found: "RangeTest", config: "RunConfig", steps: int) -> str:
    """What the curve says, in words."""
    names = " ".join(f"{group}={config.choices[group]}" for group in ("model", "data", "optimizer"))
    names += " (the first phase of trainer=finetune)" if config.finetune else ""
    ended = f"{len(found.rates)} of {steps} steps, rates {found.rates[0]:.1e} to {found.rates[-1]:.1e}"
    lowest = f"the loss fell most steeply there, from {found.smooth[0]:.3g} to {found.smooth.min():.3g}"
    return f"{names}: {ended}\n  optimizer.learning_rate={found.suggestion:g}  {lowest}, lowest at {found.lowest:.1e}"


def _keep(found: "RangeTest", path: Path) -> None:
    """Draws the curve, and writes its numbers beside it."""
    from kerasnn.analysis import figures

    figures.save(figures.rate_range(found.rates, found.losses, found.smooth, found.suggestion), path)
    with open(path.with_suffix(".csv"), "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["learning_rate", "loss", "smooth"])
        writer.writerows(zip(found.rates, found.losses, found.smooth, strict=True))


def _steps(text: str) -> int:
    return _number(text, int, least=20)


def _rate(text: str) -> float:
    return _number(text, float, least=math.ulp(0.0))


def _number(text: str, kind: type, least: float):
    try:
        number = kind(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= least):
        needed = f"a whole number of {least} or more" if kind is int else "a number above 0"
        raise ArgumentTypeError(f"'{text}' must be {needed}")
    return number
