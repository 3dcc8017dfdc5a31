"""The text of `python -m kerasnn --help`: what can be chosen, the keys of the fixed sections, examples."""

from dataclasses import fields
from textwrap import fill

from kerasnn.config import schema
from kerasnn.config.folders import groups
from kerasnn.config.plugins import plugins

EXAMPLES = """\
  python -m kerasnn                               LeNet-5 on digits, offline
  python -m kerasnn model=vgg16 data=cifar10      VGG-16 on CIFAR-10
  python -m kerasnn model=mlp trainer.epochs=5    any key can be set
  python -m kerasnn augment=[flip_crop,colour]    presets compose
  python -m kerasnn preview augment=strong        a picture of what it will see
  python -m kerasnn lr_find model=vgg11           which learning rate suits it
  python -m kerasnn -m model=mlp,lenet5 seed=0,1  a sweep: every combination
  python -m kerasnn compare --sort test_accuracy  the runs side by side
  python -m kerasnn ui                            the runs in MLflow's UI
  python -m kerasnn zoo                           every network, recounted
  python -m kerasnn doctor                        why is there no GPU?"""

OPTIONS = """\
  -m, --multirun      run every combination of comma-separated values
  -c, --cfg job       print the composed config and stop
  -cd, --config-dir   a further folder of YAML files (./conf is found by itself)
  -sc install=bash    shell completion: eval "$(kerasnn -sc install=bash)"
  --hydra-help        Hydra's own options"""


def help_text() -> str:
    """What a user can type, within 80 columns."""
    choices = {group: names for group, names in groups().items() if names}
    return "\n\n".join(
        [
            "kerasnn compares neural-network architectures honestly.",
            "usage: python -m kerasnn [train] [group=choice ...] [key=value ...]\n"
            "       python -m kerasnn compare | ui | zoo | preview | lr_find | doctor [-h]",
            "Groups and choices:\n" + "\n".join(_row(group, " ".join(names)) for group, names in choices.items()),
            *_plugins(),
            "Keys, with their defaults (--cfg job shows all):\n" + "\n".join(map(_keys, _sections())),
            f"Examples:\n{EXAMPLES}",
            f"Options:\n{OPTIONS}",
        ]
    )


def _plugins() -> list[str]:
    """A paragraph on what is installed beside kerasnn, if anything is."""
    lines = [f"{p.package}: {p.distribution}" + (f", left out: {p.damage}" if p.damage else "") for p in plugins()]
    rows = [fill(line, 79, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False) for line in lines]
    return ["Plug-ins:\n" + "\n".join(rows)] if rows else []


def _sections() -> list[str]:
    return ["", *schema.FIXED, *schema.OPTIONAL]


def _keys(section: str) -> str:
    dataclass = (schema.FIXED | schema.OPTIONAL).get(section, schema.General)
    further = [] if section else [f"{schema.FROM}=null"]
    shown = [f"{field.name}={_shown(field.default)}" for field in fields(dataclass)]
    return _row(section, " ".join([*shown, *further]))


def _shown(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _row(head: str, text: str) -> str:
    return fill(text, 79, initial_indent=f"  {head:<15}", subsequent_indent=" " * 17, break_on_hyphens=False)
