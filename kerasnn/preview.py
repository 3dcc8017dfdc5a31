"""`kerasnn preview`: a picture of what the network will see, for the overrides that a training would take."""

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import TYPE_CHECKING

from kerasnn.errors import ConfigError, refuse_in_one_line
from kerasnn.training.lean_import import import_keras

if TYPE_CHECKING:
    from kerasnn.config.strict import RunConfig

PICTURES, DRAWS = 8, 7  # A row per picture: the original, then its draws.


def main(arguments: list[str]) -> int:
    """Writes a grid: each row a training picture, then how the augmentation changes it, draw by draw.

    The first draw is the one that the run's first step sees.

    Raises:
        KerasnnError: a config that cannot be meant, data that cannot be read, an op whose result is no picture.
    """
    parser = ArgumentParser(prog="kerasnn preview", description=__doc__.partition("\n")[0])
    refuse_in_one_line(parser)
    parser.add_argument("overrides", nargs="*", help="as of a training, such as augment=strong data=cifar10")
    parser.add_argument("-cd", "--config-dir", metavar="FOLDER", help="a further folder of YAML files")
    parser.add_argument("--out", metavar="FILE", help="default runs/preview/DATA_AUGMENT.png")
    parser.add_argument("--pictures", type=int, default=PICTURES, metavar="N", help=f"default {PICTURES}")
    parser.add_argument("--draws", type=int, default=DRAWS, metavar="N", help=f"of each picture (default {DRAWS})")
    asked = parser.parse_intermixed_args(arguments)
    for option in ("pictures", "draws"):
        if getattr(asked, option) < 1:
            raise ConfigError(f"--{option} {getattr(asked, option)} must be 1 or more")
    config = _config(asked.overrides, asked.config_dir)
    import_keras()
    choice = config.choices["augment"].replace(",", "+")
    path = Path(asked.out or f"runs/preview/{config.choices['data']}_{choice}.png")
    _draw(config, path, asked.pictures, asked.draws)
    print(os.path.relpath(path))
    return 0


def _config(overrides: list[str], further: str | None) -> "RunConfig":
    from kerasnn.config.compose import compose, parse_overrides, search_path_override

    for override in parse_overrides(overrides):
        if override.is_sweep_override():
            raise ConfigError(f"'{override.input_line}' gives several values: give one, or compose them as key=[a,b]")
    return compose([*overrides, *search_path_override(further)])


def _draw(config: "RunConfig", path: Path, pictures: int, draws: int) -> None:
    from kerasnn.analysis import figures
    from kerasnn.augment.policy import make_policy
    from kerasnn.augment.preview import augmented_grid, caption
    from kerasnn.data.bundle import make_bundle

    bundle = make_bundle(config.data(), **config.bundle)
    if bundle.kind == "tokens":
        raise ConfigError(f"preview shows pictures, but data={bundle.name} gives tokens")
    policy = make_policy(config.augment, bundle, config.trainer.epochs)
    images, labels = augmented_grid(bundle, policy, config.seed, pictures, config.trainer.batch_size, draws)
    titles = []
    for row in labels:
        name, *others = (caption(label, bundle.class_names) for label in row)
        titles += [name, *(other if policy.mixes else "" for other in others)]
    grid = figures.image_grid(images.reshape(-1, *images.shape[2:]), titles, columns=1 + draws)
    figures.save(grid, path)
