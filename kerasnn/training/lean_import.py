"""Imports TensorFlow and Keras as a training wants them: without optional packages, with oneDNN, and quietly.

TensorFlow switches its oneDNN kernels on by itself only where the CPU has AVX-512; with AVX2 alone they are faster too
(benchmarks/onednn.py measures it), so they are on here unless `TF_ENABLE_ONEDNN_OPTS=0` says otherwise.

Of the time that `import keras` takes, a good third is scikit-learn, pandas and matplotlib, which Keras tries to
import for wrappers and adapters that a training never calls (benchmarks/startup.py measures it). Keras itself
is made to work where they are absent; this makes them absent to Keras alone, in the process that trains.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.abc import MetaPathFinder
from tempfile import TemporaryFile

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


@contextmanager
def native_chatter_held() -> Iterator[None]:
    """Holds back what libraries print past Python while they load; if loading fails, all of it is shown."""
    kept = os.dup(2)
    with TemporaryFile() as chatter:
        os.dup2(chatter.fileno(), 2)
        try:
            yield
        except BaseException:
            chatter.seek(0)
            os.write(kept, chatter.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def import_keras() -> None:
    """Imports TensorFlow and Keras. Call it before anything else imports them.

    `TF_CPP_MIN_LOG_LEVEL=0` in the environment brings TensorFlow's own messages back.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    hush = native_chatter_held if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") != "0" else nullcontext
    with without_optional_packages(), hush():
        import keras  # noqa: F401
        import tensorflow as tf

        tf.config.list_physical_devices()  # Looks for CUDA, and complains where there is none.
        if hush is native_chatter_held:
            tf.get_logger().setLevel("ERROR")  # Advice on retracing, which a sweep over models always draws.
