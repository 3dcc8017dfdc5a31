"""Two faults of Keras, and the day on which their mending can go."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasnn.config.schema import Strategy
from kerasnn.training import keras_mending
from kerasnn.training.distribute import open_devices


@pytest.mark.parametrize("fault", keras_mending.FAULTS, ids=lambda fault: fault.name)
def test_installed_keras_still_has_the_fault(fault):
    assert fault.present, (
        f"Keras {keras.version()} no longer has this fault: {fault.summary}. Take it out of "
        "kerasnn/training/keras_mending.py, and the file itself once it is empty, if the tests of several workers pass."
    )


def test_versions_with_the_faults_are_up_to_date():
    version = tuple(map(int, keras.version().split(".")[:2]))
    assert keras_mending.FIRST <= version <= keras_mending.LAST, "look whether this Keras has the faults, and say so"


def test_mending_twice_keeps_the_original():
    keras_mending.mend()
    keras_mending.mend()
    for fault in keras_mending.FAULTS:
        found = getattr(fault.owner, fault.name)
        assert found is fault.mended
        assert inspect.getsourcefile(found.faulty) != inspect.getsourcefile(keras_mending)


def test_keras_that_is_sound_is_left_alone(monkeypatch):
    sound = keras_mending.Fault("none", keras_mending, "mend", "a line that is not there", lambda: None)
    monkeypatch.setattr(keras_mending, "FAULTS", (sound,))
    before = keras_mending.mend
    assert keras_mending.mend() == []
    assert keras_mending.mend is before


def test_batch_that_replicas_share_unevenly_is_evaluated():
    # 5 examples on 3 replicas are pieces of 2, 2 and 1, which Keras by itself tries to add.
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(5, 4)).astype("float32"), rng.integers(0, 3, 5)
    with open_devices(Strategy("mirrored", devices=3)).scope():
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    seen = model.evaluate(tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(5), verbose=0)
    logits = inputs @ model.get_weights()[0]
    by_hand = np.log(np.exp(logits).sum(1)) - logits[np.arange(5), labels]
    assert seen == pytest.approx(by_hand.mean(), abs=1e-5)
