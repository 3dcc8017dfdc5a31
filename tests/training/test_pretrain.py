"""Contrastive divergence against the published program in NumPy, and what it promises to the run around it."""

from dataclasses import replace
from functools import cache

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from kerasnn.config.schema import Strategy
from kerasnn.config.signature import signature
from kerasnn.config.values import fits
from kerasnn.data.bundle import make_bundle
from kerasnn.data.digits import digits
from kerasnn.data.examples import ArrayExamples
from kerasnn.data.synthetic import synthetic
from kerasnn.errors import ConfigError, DataError, TrainingError
from kerasnn.layers.restricted_boltzmann import RestrictedBoltzmann
from kerasnn.models.dbn import dbn
from kerasnn.models.mlp import mlp
from kerasnn.tracking.tracker import MemoryTracker
from kerasnn.training.distribute import open_devices
from kerasnn.training.pretrain import Pupil, contrastive_divergence, free_energy_gap, hand_over, noisy_stream

SHORT = {"seed": 3, "batch_size": 20, "epochs": 1, "steps_per_epoch": 3}


@cache
def small_digits():
    """Real digits of 8×8, without a test of their own: 1,294 to train on and 144 to validate."""
    return make_bundle(digits())


@cache
def stripes():
    """Colour pictures of 6×6, whose channels have means and deviations of their own."""
    return make_bundle(synthetic(examples=200, image_size=6, num_classes=4))


def pretrained(hidden_widths=(12, 7), bundle=None, tracker=None, dropout=0.0, **options):
    """A net after pre-training, and the history of it."""
    bundle = bundle or small_digits()
    model = dbn(bundle.input_shape, bundle.num_classes, hidden_widths, dropout)
    history = contrastive_divergence(model, bundle, tracker or MemoryTracker(), **SHORT | options)
    return model, history


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def pixels(bundle, pictures):
    """Standardised pictures as rows of intensities in [0, 1]."""
    return (np.asarray(pictures, np.float64) * bundle.deviation + bundle.mean).reshape(len(pictures), -1)


def published(batches, momenta, kernel, rate, decay):
    """The loop of the program published with Hinton & Salakhutdinov 2006, in float64: kernel and hidden biases."""
    weights = [np.array(kernel, np.float64), np.zeros(kernel.shape[1]), np.zeros(kernel.shape[0])]
    speeds = [np.zeros_like(values) for values in weights]
    for (data, noise), momentum in zip(batches, momenta, strict=True):
        kernel, hidden, visible = weights
        probabilities = sigmoid(data @ kernel + hidden)
        states = noise < probabilities
        dream = sigmoid(states @ kernel.T + visible)
        dreamt = sigmoid(dream @ kernel + hidden)
        rises = [
            (data.T @ probabilities - dream.T @ dreamt) / len(data) - decay * kernel,
            (probabilities - dreamt).mean(axis=0),
            (data - dream).mean(axis=0),
        ]
        speeds = [momentum * speed + rate * rise for speed, rise in zip(speeds, rises, strict=True)]
        weights = [values + speed for values, speed in zip(weights, speeds, strict=True)]
    return weights[:2]


def test_pretraining_repeats_the_published_program():
    bundle, widths, below = stripes(), (9, 6), []
    rate, decay, momenta = 0.2, 0.05, [0.5] * 3 + [0.9] * 6  # Three epochs of three steps, of which one is slow.
    model, _ = pretrained(widths, bundle, epochs=3, learning_rate=rate, momentum_epochs=1, weight_decay=decay)
    for number, width in enumerate(widths, start=1):
        own_seed = 3 + number * 2**32
        batches = []
        for ((pictures, noise),) in noisy_stream(bundle, own_seed, 20, 3, 3, noise=(1, width)):
            seen = pixels(bundle, pictures)
            for kernel, bias in below:
                seen = sigmoid(seen @ kernel + bias)
            batches.append((seen, np.asarray(noise)[:, 0]))
        start = np.array(keras.initializers.RandomNormal(stddev=0.1, seed=own_seed)((batches[0][0].shape[1], width)))
        below.append(published(batches, momenta, start, rate, decay))
    # On pictures as the network gets them, every hidden layer answers what the machines of [0, 1] would.
    pictures = np.asarray(next(iter(noisy_stream(bundle, 8, 50, 1, 1, noise=(1, 1))))[0][0])
    seen = pixels(bundle, pictures)
    for number, (kernel, bias) in enumerate(below, start=1):
        seen = sigmoid(seen @ kernel + bias)
        hidden = keras.Model(model.input, model.get_layer(f"rbm{number}").output)(pictures)
        assert_allclose(hidden, seen, atol=1e-5)
        moved = np.abs(kernel - keras.initializers.RandomNormal(stddev=0.1, seed=3 + number * 2**32)(kernel.shape))
        assert moved.max() > 0.02  # Far above the tolerance: nothing of this holds for kernels that stood still.
    assert_allclose(model.get_layer("rbm2").kernel, below[1][0], atol=1e-5)


@pytest.mark.parametrize("steps", [1, 3])
def test_loss_has_the_gradient_of_contrastive_divergence(steps):
    rng = np.random.default_rng(0)
    bundle = stripes()
    machine = RestrictedBoltzmann(5, keras.initializers.RandomNormal(stddev=0.5, seed=1), dtype="float32")
    pupil = Pupil(bundle, [], machine)
    pupil.compile(keras.optimizers.SGD(1.0), jit_compile=False)
    kernel, hidden, visible = (values.astype(np.float64) for values in pupil.get_weights()[:3])
    noise = rng.random((4, steps, 5), "float32")
    pictures = rng.normal(size=(4, 6, 6, 3)).astype("float32")
    data = pixels(bundle, pictures).clip(0, 1)
    dream = data
    for step in range(steps):
        states = noise[:, step] < sigmoid(dream @ kernel + hidden)
        dream = sigmoid(states @ kernel.T + visible)
    first, last = sigmoid(data @ kernel + hidden), sigmoid(dream @ kernel + hidden)
    logs = pupil.train_on_batch((pictures, noise), return_dict=True)
    # A step of size 1 downhill: <v h> - <v' h'> up, averaged over four pictures.
    after = machine.get_weights()
    assert_allclose(after[0] - kernel, (data.T @ first - dream.T @ last) / 4, atol=1e-6)
    assert_allclose(after[1] - hidden, (first - last).mean(axis=0), atol=1e-6)
    assert_allclose(after[2] - visible, (data - dream).mean(axis=0), atol=1e-6)
    assert float(logs["reconstruction_error"]) == pytest.approx(np.mean((data - dream) ** 2), rel=1e-5)


def test_hand_over_folds_the_standardisation_into_the_kernel():
    bundle = stripes()
    machine = RestrictedBoltzmann(5, keras.initializers.RandomNormal(stddev=0.5, seed=1))
    machine.build((None, 108))
    machine.bias.assign(np.arange(5) / 5)
    model = dbn(bundle.input_shape, 4, hidden_widths=(5,))
    hand_over(machine, model.get_layer("rbm1"), bundle)
    intensities = np.random.default_rng(0).random((10, 6, 6, 3), "float32")
    standardised = ((intensities - bundle.mean) / bundle.deviation).astype("float32")
    hidden = keras.Model(model.input, model.get_layer("rbm1").output)(standardised)
    assert_allclose(hidden, machine.hidden(intensities.reshape(10, 108)), atol=1e-5)


def test_machines_learn_digits():
    tracker = MemoryTracker()
    _, history = pretrained((40, 20), tracker=tracker, epochs=4, steps_per_epoch=None)
    metrics = ("reconstruction_error", "free_energy_gap")
    assert set(history) == {f"pretrain/rbm{number}/{metric}" for number in (1, 2) for metric in metrics}
    for key, values in history.items():
        assert tracker.history[key] == list(enumerate(values, start=1))  # Epochs count from 1.
    for number in (1, 2):
        errors = history[f"pretrain/rbm{number}/reconstruction_error"]
        assert sorted(errors, reverse=True) == errors
    # The mean picture as an answer to each would leave the pixels' variance, 0.0735: biases alone can learn as much.
    variance = np.var(small_digits().train.images / 255, axis=0).mean()
    assert history["pretrain/rbm1/reconstruction_error"][-1] < variance * 2 / 3


def test_free_energy_gap_is_validation_less_training():
    bundle = stripes()
    machine = RestrictedBoltzmann(5, keras.initializers.RandomNormal(stddev=0.5, seed=1), dtype="float32")
    gap = free_energy_gap(Pupil(bundle, [], machine), bundle, batch_size=7)
    # 160 pictures are for training, of which 16 are held out: those are compared with 16 of the 144, evenly spread.
    assert (len(bundle.train), len(bundle.validation)) == (144, 16)
    spread = bundle.train.images[np.linspace(0, 143, 16).round().astype(int)]
    trained, unseen = (
        np.mean(machine((images / 255).reshape(16, 108).astype("float32")))
        for images in (spread, bundle.validation.images)
    )
    assert gap() == pytest.approx(unseen - trained, abs=1e-4)


def test_pretraining_is_a_function_of_the_seed():
    first, again, other = (pretrained(seed=seed)[0].get_layer("rbm2").get_weights() for seed in (3, 3, 4))
    for one, same, different in zip(first, again, other, strict=True):
        assert_array_equal(one, same)
        assert not np.array_equal(one, different)


def test_lower_layers_do_not_change_while_upper_ones_train():
    alone, stacked = pretrained((12,))[0], pretrained((12, 7))[0]
    for one, same in zip(alone.get_layer("rbm1").get_weights(), stacked.get_layer("rbm1").get_weights(), strict=True):
        assert_array_equal(one, same)


def test_only_machines_change_and_all_stay_trainable():
    bundle = small_digits()
    model = dbn(bundle.input_shape, 10, (12, 7))
    before = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    contrastive_divergence(model, bundle, MemoryTracker(), **SHORT)
    changed = [
        name
        for name, weights in before.items()
        if not all(map(np.array_equal, weights, model.get_layer(name).get_weights()))
    ]
    assert changed == ["rbm1", "rbm2"]
    assert len(model.trainable_weights) == 6


def test_neither_labels_nor_dropout_nor_precision_change_anything():
    bundle = small_digits()
    unlabelled = ArrayExamples(bundle.train.images, np.zeros_like(bundle.train.labels))
    plain = pretrained()[0]
    blind = pretrained(bundle=replace(bundle, train=unlabelled), dropout=0.5)[0]
    keras.config.set_dtype_policy("mixed_float16")
    mixed = pretrained()[0]
    for other in (blind, mixed):
        for name in ("rbm1", "rbm2"):
            for one, same in zip(plain.get_layer(name).get_weights(), other.get_layer(name).get_weights(), strict=True):
                assert_array_equal(one, same)


def test_replicas_agree_with_one():
    weights = {}
    for replicas in (1, 2):
        with open_devices(Strategy("mirrored", devices=replicas)).scope():
            model = dbn(small_digits().input_shape, 10, (12, 7))
        contrastive_divergence(model, small_digits(), MemoryTracker(), **SHORT | {"gibbs_steps": 2, "epochs": 2})
        weights[replicas] = [model.get_layer(name).get_weights() for name in ("rbm1", "rbm2")]
    for one, two in zip(weights[1], weights[2], strict=True):
        for first, second in zip(one, two, strict=True):
            assert_allclose(second, first, atol=1e-5)


def test_broken_training_says_what_helps():
    with pytest.raises(
        TrainingError, match=r"pre-training of rbm1: the loss became (inf|nan) .* model.pretrain.learning_rate \(1e\+30"
    ):
        pretrained(learning_rate=1e30)


def test_model_without_machines_is_refused():
    with pytest.raises(ConfigError, match=r"layers rbm1, rbm2, … of a deep belief net, but mlp has none: set model"):
        contrastive_divergence(mlp((8, 8, 1), 10), small_digits(), MemoryTracker(), **SHORT)


def test_batch_larger_than_the_set_is_refused():
    with pytest.raises(DataError, match=r"a batch of 5000 is larger than"):
        pretrained(batch_size=5000)


def test_signature_is_a_schema_with_ranges():
    parameters = signature("kerasnn.training.pretrain.contrastive_divergence").parameters
    required = {name for name, parameter in parameters.items() if parameter.required}
    assert required == {"model", "bundle", "tracker", "seed", "batch_size"}  # What a run supplies.
    legal = {"momentum": [0.5, 0.9], "epochs": 1, "momentum_epochs": 0, "weight_decay": 0, "learning_rate": 0.1}
    wrong = {"momentum": [0.5, 1.0], "epochs": 0, "momentum_epochs": -1, "weight_decay": -1, "learning_rate": 0}
    for name, value in legal.items():
        assert fits(value, parameters[name].annotation)
        assert not fits(wrong[name], parameters[name].annotation)
