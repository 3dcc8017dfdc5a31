"""Imports Keras without the optional packages that it would load only because they are installed.

Of the time that `import keras` takes, a good third is scikit-learn, pandas and matplotlib, which Keras tries to
import for wrappers and adapters that a training never calls (benchmarks/startup.py measures it). Keras itself
is made to work where they are absent; this makes them absent to Keras alone, in the process that trains.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder

OPTIONAL = ("sklearn", "pandas", "matplotlib")


class _Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in OPTIONAL:
            raise ModuleNotFoundError(f"{name} is not needed for training", name=name)


@contextmanager
def without_optional_packages() -> Iterator[None]:
    """Within it, `import sklearn` and the like fail as if they were not installed; what is loaded already stays."""
    finder = _Absent()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def import_keras() -> None:
    """Imports TensorFlow and Keras lean. Call it before anything else imports them."""
    with without_optional_packages():
        import keras  # noqa: F401
