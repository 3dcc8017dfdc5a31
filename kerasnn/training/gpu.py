"""Why TensorFlow sees no GPU: what the machine, the driver, the environment and the build say. Imports no TensorFlow.

`look` gathers the facts; `why_no_gpu` is a pure function of them. `no_gpu` is both, as one line for an error.
"""

import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from kerasnn.training.nvidia import ABSENT, VISIBLE, Card, cards

# The oldest Linux driver for any release of a major version of CUDA (NVIDIA, CUDA Compatibility, "minor version").
OLDEST_DRIVER = {11: (450, 80), 12: (525, 60), 13: (580, 65)}


@dataclass(frozen=True)
class Facts:
    """What there is to reason from.

    Args:
        cards: the GPUs that `nvidia-smi` lists.
        smi: why it lists none: "absent", or its own words; empty where it answered.
        visible: the value of CUDA_VISIBLE_DEVICES; None where it is not set.
        cuda: the version of CUDA that TensorFlow was built with, such as "12.5.1"; None for a build without.
        capabilities: the kinds of GPU that it was built for, such as `("sm_60", "compute_90")`.
        absent: the packages with CUDA's libraries that `tensorflow[and-cuda]` wants and that are not installed.
        container: whether this process lives in a container.
        system: "Linux", or another for which TensorFlow's wheels have no CUDA.
    """

    cards: tuple[Card, ...] = ()
    smi: str = ""
    visible: str | None = None
    cuda: str | None = None
    capabilities: tuple[str, ...] = ()
    absent: tuple[str, ...] = field(default=())
    container: bool = False
    system: str = "Linux"


def look(build: Mapping[str, object]) -> Facts:
    """The facts of this process.

    Args:
        build: `tf.sysconfig.get_build_info()`.
    """
    found, smi = cards()
    return Facts(
        cards=found,
        smi=smi,
        visible=os.environ.get(VISIBLE),
        cuda=str(build.get("cuda_version", "?")) if build.get("is_cuda_build") else None,
        capabilities=tuple(build.get("cuda_compute_capabilities", ())),
        absent=_absent_libraries(),
        container=in_container(),
        system=platform.system(),
    )


def no_gpu(build: Mapping[str, object]) -> str:
    """One line on why TensorFlow, which was asked for a GPU, sees none.

    Example:
        >>> no_gpu(tf.sysconfig.get_build_info())
        'no NVIDIA driver: nvidia-smi is not installed; python -m kerasnn doctor tells more'
    """
    return f"{why_no_gpu(look(build))[0]}; python -m kerasnn doctor tells more"


def unseen_gpu(build: Mapping[str, object]) -> str | None:
    """One line on why TensorFlow sees no GPU though there is one and nobody hid it; None where that is not so.

    Args:
        build: `tf.sysconfig.get_build_info()`.
    """
    facts = look(build)
    return why_no_gpu(facts)[0] if facts.cards and not is_hidden(facts) else None


def why_no_gpu(facts: Facts) -> list[str]:
    """Each reason that the facts give, with its remedy; the one to mend first comes first, and there is always one.

    Example:
        >>> why_no_gpu(Facts(smi="absent", cuda="12.5.1", container=True))
        ['no NVIDIA GPU reaches this container: start it with --gpus all (NVIDIA's container toolkit on the host)']
    """
    if facts.system != "Linux":
        return [f"TensorFlow's wheels use NVIDIA GPUs on Linux only, and this is {facts.system} (Windows: use WSL2)"]
    if not facts.cards:
        return [_no_card(facts)]
    reasons = [
        _hidden(facts),
        _without_cuda(facts),
        _libraries(facts),
        _old_driver(facts),
        _old_card(facts),
    ]
    return [reason for reason in reasons if reason] or [
        "for no reason that is known here: TF_CPP_MIN_LOG_LEVEL=0 python -c 'import tensorflow as tf; "
        "tf.config.list_physical_devices()' shows what TensorFlow itself says"
    ]


def is_hidden(facts: Facts) -> bool:
    """Whether somebody decided, by CUDA_VISIBLE_DEVICES, that this process gets no GPU."""
    return bool(facts.cards) and _hidden(facts) is not None


def _no_card(facts: Facts) -> str:
    if facts.container and facts.smi == ABSENT:
        return "no NVIDIA GPU reaches this container: start it with --gpus all (NVIDIA's container toolkit on the host)"
    if facts.smi == ABSENT:
        return "no NVIDIA driver: nvidia-smi is not installed"
    if facts.smi:
        return f"the NVIDIA driver does not answer: nvidia-smi says: {facts.smi}"
    return "nvidia-smi lists no GPU"


def _hidden(facts: Facts) -> str | None:
    """CUDA reads the list up to the first entry that names no device."""
    if facts.visible is None:
        return None
    first = facts.visible.split(",")[0].strip()
    if first.isdigit() and int(first) < len(facts.cards):
        return None
    if first.startswith(("GPU-", "MIG-")):
        return None
    many = f"there {'is' if len(facts.cards) == 1 else 'are'} {len(facts.cards)}, numbered from 0"
    return f"{VISIBLE}={facts.visible!r} hides every GPU ({many}): unset it, or name some"


def _without_cuda(facts: Facts) -> str | None:
    if facts.cuda is None:
        return "this TensorFlow is built without CUDA: pip install 'tensorflow[and-cuda]' in place of tensorflow-cpu"
    return None


def _libraries(facts: Facts) -> str | None:
    if facts.cuda is None or not facts.absent:
        return None
    named = ", ".join(facts.absent[:2]) + (f" and {len(facts.absent) - 2} more" if len(facts.absent) > 2 else "")
    return f"CUDA's libraries are not installed ({named}): pip install 'kerasnn[gpu]'"


def _old_driver(facts: Facts) -> str | None:
    oldest = OLDEST_DRIVER.get(_numbers(facts.cuda or "0")[0])
    driver = facts.cards[0].driver
    if oldest and _numbers(driver)[:2] < oldest:
        wanted = ".".join(map(str, oldest))
        return f"the driver {driver} is too old for the CUDA {facts.cuda} of this TensorFlow: install {wanted} or newer"
    return None


def _old_card(facts: Facts) -> str | None:
    """A binary runs on later cards of its generation too, and the newest is compiled anew for those to come."""
    kinds = [int(digits[0]) for kind in facts.capabilities if (digits := re.findall(r"\d+", kind))]
    named = [(card, int("".join(map(str, _numbers(card.capability)[:2])))) for card in facts.cards]
    usable = [card for card, capability in named if not kinds or capability >= min(kinds)]
    if usable:
        return None
    card = facts.cards[0]
    return f"{card.name} (compute capability {card.capability}) is older than what this TensorFlow is built for"


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text))) or (0,)


def _absent_libraries() -> tuple[str, ...]:
    """What `tensorflow[and-cuda]` wants, by its own metadata, and is not there."""
    try:
        wanted = [need for need in requires("tensorflow") or () if "and-cuda" in need]
    except PackageNotFoundError:
        return ()
    return tuple(name for need in wanted if not _installed(name := re.split(r"[^\w-]", need)[0]))


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def in_container() -> bool:
    """Whether this process lives in a container of Docker, Podman or Kubernetes."""
    marks = ("/.dockerenv", "/run/.containerenv")
    return any(Path(mark).exists() for mark in marks) or "KUBERNETES_SERVICE_HOST" in os.environ
