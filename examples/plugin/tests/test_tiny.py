"""The plug-in's own tests: counts, shapes, one step of training, and the pictures."""

import math

import keras
import numpy as np
import pytest
from kerasnn.errors import ModelError

from kerasnn_tiny.catalogue import CATALOGUE
from kerasnn_tiny.data.checkerboards import checkerboards
from kerasnn_tiny.layers.mix_patches import MixPatches
from kerasnn_tiny.models.mixer import MIXER, Variant, mixer


@pytest.mark.parametrize("name", CATALOGUE)
def test_network_has_the_count_of_its_row(name):
    # tiny_mixer: the stem 4·4·3·64 + 64; in each of four blocks two norms of 128, 64·32 + 32 + 32·64 + 64 across the
    # 64 patches and 64·256 + 256 + 256·64 + 64 across the channels; the last norm 128; the head 64·10 + 10.
    # mixer_s16: likewise with 16·16·3·512 + 512, eight blocks, 196 patches, 512 channels, 1,000 classes.
    with keras.StatelessScope(initialize_variables=False):
        model = CATALOGUE[name].build()
    assert sum(math.prod(weight.shape) for weight in model.trainable_weights) == CATALOGUE[name].params_published


def test_catalogue_signature_and_table_agree():
    assert set(CATALOGUE) == set(MIXER) == set(Variant.__args__)
    assert all(entry.params_published == MIXER[name][-1] for name, entry in CATALOGUE.items())


@pytest.mark.parametrize("name", CATALOGUE)
def test_network_takes_a_step_and_reloads(name, tmp_path):
    model = CATALOGUE[name].build_toy(num_classes=3)
    inputs = np.random.default_rng(0).normal(size=(6, *model.input_shape[1:])).astype("float32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=False)
    before = [weight.numpy() for weight in model.trainable_weights]
    # The head starts at zero: every class is equally likely, so the first loss is the logarithm of three.
    assert model.train_on_batch(inputs, np.arange(6) % 3) == pytest.approx(math.log(3), rel=1e-5)
    assert any(not np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True))
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(reloaded.predict_on_batch(inputs), model.predict_on_batch(inputs), rtol=1e-6)


def test_mixer_sees_every_patch_and_every_channel():
    model = mixer("tiny_mixer", (16, 16, 3), 2, depth=1, width=8)
    shapes = {name: model.get_layer(name).output.shape[1:] for name in ("stem", "patches", "block1_patches", "pool")}
    # 16 / 4 = 4 patches along a side, 16 in all.
    assert shapes == {"stem": (4, 4, 8), "patches": (16, 8), "block1_patches": (16, 8), "pool": (8,)}


def test_patches_are_mixed_in_each_channel_by_itself():
    layer = MixPatches(5)
    inputs = np.random.default_rng(0).normal(size=(1, 4, 3)).astype("float32")
    before = layer(inputs).numpy()
    assert before.shape == layer.compute_output_shape(inputs.shape) == inputs.shape
    # Four patches to five units and back, for three channels: twice 3·4·5, counted as kerasnn counts two Dense layers.
    assert layer.macs(inputs.shape, inputs.shape) == 120
    inputs[0, 0, 1] += 1  # One patch, one channel.
    changed = layer(inputs).numpy() != before
    assert changed[0, :, 1].all()
    assert not changed[0, :, [0, 2]].any()


def test_picture_must_be_made_of_whole_patches():
    with pytest.raises(ModelError, match="30×32, its sides must be multiples of 4; set data.image_size=32"):
        mixer("tiny_mixer", (30, 32, 3), 10)


def test_boards_have_the_fields_of_their_class():
    source = checkerboards(examples=40, image_size=60, noise=0.0)
    assert source.train.images.shape == (32, 60, 60, 3)
    assert source.class_names == ("2×2", "3×3", "4×4", "5×5")
    for image, label in zip(source.train.images, source.train.labels, strict=True):
        row = image[0].astype(int)
        edges = np.flatnonzero(np.abs(np.diff(row, axis=0)).sum(axis=1))
        # A side shows as many whole fields as the class says, less or more by where the pattern starts.
        assert len(edges) in (label + 1, label + 2)
        assert np.all(np.abs(np.diff(edges) - 60 / (label + 2)) <= 1)
        assert len(np.unique(image.reshape(-1, 3), axis=0)) == 2


def test_boards_are_the_same_for_the_same_seed():
    first, again, other = (checkerboards(examples=20, seed=seed) for seed in (1, 1, 2))
    assert first.train.digest == again.train.digest != other.train.digest
