"""`kerasnn zoo`: every network at its published size, recounted; or one of them, layer by layer.

Nothing is trained, and no weight is allocated: GPT-3's 175 billion are counted in seconds.
"""

import gc
import logging
from argparse import ArgumentParser
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from kerasnn.analysis.tables import FORMS, Column, check_form, human, render
from kerasnn.config.folders import groups
from kerasnn.config.plugins import plugin_packages
from kerasnn.errors import ConfigError, refuse_in_one_line, unknown
from kerasnn.training.lean_import import import_keras

if TYPE_CHECKING:
    from kerasnn.analysis.cost import LayerCost
    from kerasnn.models.catalogue import Entry


log = logging.getLogger(__name__)


def _shape(shape: tuple[int | None, ...]) -> str:
    return "×".join("?" if size is None else str(size) for size in shape)


NETWORKS = {
    "name": Column("network", text=True),
    "year": Column("year"),
    "paper": Column("paper", lambda paper: paper.split()[0].rstrip(","), text=True),
    "input_shape": Column("input", lambda shape: _shape(shape[:2])),
    "params_trainable": Column("parameters", "{:,}".format),
    "params_published": Column("publ.", human),
    "flops": Column("FLOPs", human),
    "smallest_input": Column("min", lambda shape: _shape(shape[:2])),
}
"""What people see of each network: its paper's first author, our trainable parameters, the smallest legal input."""

NOTE = """
parameters: ours, trainable. publ.: published, in the reading that a test
recounts; some papers round it or give none: kerasnn zoo NAME says what is
counted. min: the smallest legal input.
"""

LAYERS = {
    "name": Column("layer", text=True),
    "kind": Column("kind", text=True),
    "output_shape": Column("output", _shape),
    "params": Column("parameters", "{:,}".format),
    "flops": Column("FLOPs", human),
}


def main(arguments: list[str]) -> int:
    """Prints the zoo, a network's card, or its layers.

    Raises:
        ConfigError: no such network, option or form.
    """
    parser = ArgumentParser(prog="kerasnn zoo", description=__doc__.partition("\n")[0])
    refuse_in_one_line(parser)
    parser.add_argument("network", nargs="?", help="one network, such as vgg16; all, if none is named")
    parser.add_argument("--layers", action="store_true", help="its layers: output, parameters, FLOPs")
    parser.add_argument("--format", metavar="FORMAT", default="table", help=f"{', '.join(FORMS)} (default table)")
    asked = parser.parse_args(arguments)
    check_form(asked.format)
    if asked.layers and not asked.network:
        raise ConfigError("--layers needs a network: kerasnn zoo vgg16 --layers")
    if asked.network and asked.network not in groups()["model"]:  # Which is known before TensorFlow is.
        raise ConfigError(unknown("network", asked.network, groups()["model"]))
    import_keras()
    entries = catalogue()
    if asked.network and asked.network not in entries:
        raise ConfigError(f"model={asked.network} is in no catalogue: the zoo knows {', '.join(entries)}")
    if asked.layers:
        print(render(asked.format, layer_rows(entries[asked.network]), LAYERS), end="")
        return 0
    chosen = {asked.network: entries[asked.network]} if asked.network else entries
    rows = [row(name, entry) for name, entry in chosen.items()]
    card = asked.network and asked.format == "table"
    print(_card(rows[0]) if card else render(asked.format, rows, NETWORKS), end="")
    if asked.format == "table" and not card:
        print(NOTE, end="")
    return 0


def catalogue() -> Mapping[str, "Entry"]:
    """The networks of the package, and those that plug-ins list in a module `catalogue` of theirs, by year.

    A plug-in whose list cannot be read, or has a name that is taken, is left out with a warning.
    """
    from kerasnn.models.catalogue import CATALOGUE

    entries = dict(CATALOGUE)
    for package in plugin_packages():
        try:
            listed = _listed(package)
        except Exception as error:  # Whatever a stranger's module may raise.
            log.warning("the catalogue of the plug-in %s cannot be read (%r): left out", package, error)
            continue
        taken = sorted(set(listed) & set(entries))
        if taken:
            log.warning("the catalogue of the plug-in %s is left out: there is a %s already", package, taken[0])
        else:
            entries |= listed
    return dict(sorted(entries.items(), key=lambda item: item[1].year))


def _listed(package: str) -> dict[str, "Entry"]:
    return import_module(f"{package}.catalogue").CATALOGUE if find_spec(f"{package}.catalogue") else {}


def row(name: str, entry: "Entry") -> dict:
    """What is known of a network at its published size, counted anew.

    Example:
        >>> row("lenet5", CATALOGUE["lenet5"])["params_trainable"]
        61706
    """
    from kerasnn.analysis import cost

    counted = cost.count(_build(entry))
    gc.collect()  # A network is full of cycles: without this, the whole zoo would stay in memory.
    return {
        "name": name,
        "year": entry.year,
        "paper": entry.paper,
        "input_shape": list(entry.input_shape),
        "params_trainable": counted.params_trainable,
        "params_total": counted.params_total,
        "params_published": entry.params_published,
        "counts": entry.counts,
        "flops": counted.flops,
        "weights_mb": counted.weights_mb,
        "smallest_input": list(entry.smallest),
    }


def layer_rows(entry: "Entry") -> list[dict]:
    """A network's layers in order of computation; the last row is their sum."""
    from kerasnn.analysis import cost

    layers = cost.layer_table(_build(entry))
    rows = [_layer_row(layer) for layer in layers]
    total = {key: sum(row[key] or 0 for row in rows) for key in ("params", "flops")}
    return [*rows, {"name": "total", "kind": "", "output_shape": [], **total}]


def _layer_row(layer: "LayerCost") -> dict:
    flops = None if layer.macs is None else 2 * layer.macs
    shape = list(layer.output_shape[1:])
    return {"name": layer.name, "kind": layer.kind, "output_shape": shape, "params": layer.params, "flops": flops}


def _build(entry: "Entry"):
    import keras

    with keras.StatelessScope(initialize_variables=False):
        return entry.build()


def _card(row: dict) -> str:
    """One network in full, within 80 columns."""
    from textwrap import wrap

    facts = {
        "paper": row["paper"],
        "input": _shape(row["input_shape"]),
        "smallest": _shape(row["smallest_input"]),
        "parameters": f"{row['params_trainable']:,} trainable, {row['params_total']:,} in all",
        "published": f"{row['params_published']:,}: {row['counts']}",
        "FLOPs": f"{row['flops']:,} per example (a multiply–add is two)",
        "weights": f"{row['weights_mb']:,.1f} MB",
        "layers": f"kerasnn zoo {row['name']} --layers",
    }
    lines = [row["name"]]
    for head, text in facts.items():
        first, *rest = wrap(text, 66)
        lines += [f"  {head:<11} {first}", *(f"{'':14}{line}" for line in rest)]
    return "\n".join(lines) + "\n"
