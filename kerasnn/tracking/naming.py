"""What users call runs: which of them a word stands for, and which it may have been meant for."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from kerasnn.errors import suggestion

LEAST_PREFIX = 7  # As many characters of an id as `kerasnn compare` shows.


class Known(Protocol):
    """What a run is called by."""

    @property
    def name(self) -> str:
        """Not always its own alone."""

    @property
    def run_id(self) -> str | None:
        """MLflow's; None where it has none."""


R = TypeVar("R", bound=Known)


def meant(word: str, runs: Sequence[R], better: Callable[[R], bool]) -> list[R]:
    """The runs that a word stands for: by id, by the beginning of one, or else by name.

    Args:
        word: the user's.
        runs: all that there are.
        better: which are meant first, of several of one name.
    """
    ids = [run for run in runs if run.run_id and run.run_id.startswith(word) and len(word) >= LEAST_PREFIX]
    called = [run for run in runs if run.name == word]
    return ids or [run for run in called if better(run)] or called


def nearest(word: str, runs: Iterable[Known]) -> str:
    """What the user may have meant by a word that stands for no run, as part of a message; empty where nothing is near.

    Example:
        >>> nearest("vgg61", runs)
        "did you mean 'vgg16'? "
    """
    names = {name for run in runs for name in (run.name, run.run_id) if name}
    return suggestion(word, names).split("known: ")[0]
