"""Signatures read from source: what a config may call, and with which arguments."""

import subprocess
import sys

import pytest

from kerasnn.config.signature import signature
from kerasnn.errors import ConfigError


def test_signature_finds_function_with_ranges():
    found = signature("kerasnn.training.optimizers.momentum")
    assert (found.module, found.name) == ("kerasnn.training.optimizers", "momentum")
    assert list(found.parameters) == ["learning_rate", "momentum", "weight_decay", "clipnorm", "accumulation_steps"]
    assert not found.parameters["momentum"].required


def test_signature_follows_a_reexport_to_the_definition():
    found = signature("keras.layers.RandomFlip")
    assert found.module.startswith("keras.src.layers")
    # `mode` is RandomFlip's own, `name` comes from the base Layer through **kwargs.
    assert {"mode", "seed", "name"} <= set(found.parameters)


def test_signature_reads_a_class_of_keras_cv():
    assert "ratio_factor" in signature("keras_cv.layers.GridMask").parameters


@pytest.mark.parametrize("target", ["kerasnn.tracking.package._link", "keras._tf_keras.keras.layers.Dense"])
def test_signature_does_not_find_what_is_private(target):
    with pytest.raises(ConfigError, match="does not exist"):
        signature(target)


@pytest.mark.parametrize(
    "target", ["kerasnn.training.run.traceback.format_exception", "kerasnn.config.launch.os.system"]
)
def test_signature_does_not_reach_through_a_module_into_what_it_imported(target):
    with pytest.raises(ConfigError, match="does not exist"):
        signature(target)


def test_signature_does_not_find_a_foreign_import():
    with pytest.raises(ConfigError, match="does not exist"):
        signature("kerasnn.errors.get_close_matches")


def test_signature_offers_the_nearest_name():
    with pytest.raises(ConfigError, match="did you mean 'momentum'"):
        signature("kerasnn.training.optimizers.momentun")


def test_signature_imports_nothing_heavy():
    script = (
        "import sys\n"
        "from kerasnn.config.signature import signature\n"
        "signature('keras.layers.RandomFlip'); signature('kerasnn.models.vgg.vgg')\n"
        "print([name for name in ('tensorflow', 'keras', 'numpy', 'kerasnn.models.vgg') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
