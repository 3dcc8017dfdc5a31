"""One harness for every op: what `kerasnn.augment` promises of each."""

from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow as tf

from kerasnn.augment.affine import Rotation, Shear, Translation, Zoom
from kerasnn.augment.drawn import AugMix, RandAugment, TrivialAugment
from kerasnn.augment.image import ChannelShuffle, Colour, Flip, Noise, Occlusion, PaddedCrop
from kerasnn.augment.kerascv import KerasCVLayer
from kerasnn.augment.policy import Policy
from kerasnn.augment.tone import AutoContrast, Equalize, Posterize, Sharpness, Solarize
from kerasnn.errors import ConfigError

BATCH = 16
SEED, OTHER = (3, 5), (3, 6)


@dataclass(frozen=True)
class Case:
    op: object
    still: object | None = None  # The op at strength 0, which changes nothing.
    channels: tuple[int, ...] = (1, 3)
    distinct: int = BATCH  # Results for one picture given BATCH times: fewer where the draws are few.


CASES = {
    "translation": Case(Translation(), Translation(0.0, 0.0)),
    "rotation": Case(Rotation(), Rotation(0.0)),
    "zoom": Case(Zoom(), Zoom(1.0, 1.0)),
    "shear": Case(Shear(), Shear(0.0, 0.0)),
    "flip": Case(Flip(), Flip(0.0), distinct=2),
    "flip_vertical": Case(Flip(vertical=True), Flip(0.0, vertical=True), distinct=2),
    "padded_crop": Case(PaddedCrop(), distinct=12),
    "colour": Case(Colour(), Colour(0.0, 0.0, 0.0, 0.0)),
    "noise": Case(Noise(), Noise(0.0)),
    "occlusion_mean": Case(Occlusion(1.0), Occlusion(0.0)),
    "occlusion_zero": Case(Occlusion(1.0, cover="zero"), Occlusion(1.0, 0.0, 0.0, cover="zero")),
    "occlusion_noise": Case(Occlusion(1.0, cover="noise"), Occlusion(0.0, cover="noise")),
    "auto_contrast": Case(AutoContrast(), AutoContrast(0.0), distinct=2),
    "equalize": Case(Equalize(), Equalize(0.0), distinct=2),
    "posterize": Case(Posterize(), Posterize(probability=0.0), distinct=2),
    "solarize": Case(Solarize(), Solarize(threshold=1.0, probability=0.0), distinct=2),
    "sharpness": Case(Sharpness(), Sharpness(0.0)),
    # What has a strength does nothing at strength 0; auto_contrast and equalize have none, posterize keeps 8 bits.
    "rand_augment": Case(
        RandAugment(),
        RandAugment(2, 0.0, ["identity", "rotate", "shear_x", "translate_y", "solarize", "colour"]),
        distinct=6,
    ),
    "trivial_augment": Case(TrivialAugment(), distinct=6),
    "augmix": Case(AugMix(), distinct=12),
    "grid_mask": Case(KerasCVLayer("GridMask"), KerasCVLayer("GridMask", {"ratio_factor": (0.0, 0.0)})),
    "grid_mask_of_some": Case(
        KerasCVLayer("GridMask", probability=0.5), KerasCVLayer("GridMask", probability=0.0), distinct=3
    ),
    "channel_shuffle": Case(ChannelShuffle(), ChannelShuffle(0.0), channels=(3,), distinct=4),
    "channel_shuffle_of_keras_cv": Case(KerasCVLayer("ChannelShuffle"), channels=(3,), distinct=4),
}
EACH = [
    pytest.param(case, channels, id=f"{name}-{channels}") for name, case in CASES.items() for channels in case.channels
]


def pictures(channels: int, height: int = 20, width: int = 24) -> tf.Tensor:
    """Smooth, not symmetric, none alike, reaching both ends of [0, 1]."""
    rng = np.random.default_rng(7)
    coarse = rng.random((BATCH, 5, 6, channels), np.float32)
    images = np.clip(tf.image.resize(coarse, (height, width)).numpy() * 1.2 - 0.1, 0, 1)
    return tf.constant(images, tf.float32)


@pytest.mark.parametrize(("case", "channels"), EACH)
def test_op_gives_equal_pixels_for_equal_seeds_in_eager_graph_and_stream(case, channels):
    images = pictures(channels)
    eager = case.op(images, tf.constant(SEED))
    graph = tf.function(case.op)(images, tf.constant(SEED))
    seeds = tf.data.Dataset.from_tensor_slices([SEED, OTHER] * 4)
    streamed = [batch.numpy() for batch in seeds.map(lambda seed: case.op(images, seed), num_parallel_calls=4)]
    np.testing.assert_allclose(graph, eager, atol=1e-5)
    for batch in streamed[::2]:
        np.testing.assert_allclose(batch, eager, atol=1e-5)
        np.testing.assert_array_equal(batch, streamed[0])
    for batch in streamed[1::2]:
        np.testing.assert_array_equal(batch, streamed[1])
    assert not np.allclose(streamed[0], streamed[1], atol=1e-3)


@pytest.mark.parametrize(("case", "channels"), EACH)
def test_op_keeps_shape_dtype_and_range(case, channels):
    images = pictures(channels)
    spec = tf.TensorSpec((None, *images.shape[1:]))
    result = tf.function(case.op).get_concrete_function(spec, tf.TensorSpec((2,), tf.int32))
    assert result.structured_outputs.shape.as_list() == [None, *images.shape[1:]]
    augmented = result(images, tf.constant(SEED))
    assert augmented.shape == images.shape
    assert augmented.dtype == tf.float32
    assert tf.reduce_min(augmented) >= 0
    assert tf.reduce_max(augmented) <= 1
    assert not np.allclose(augmented, images, atol=1e-3)


@pytest.mark.parametrize(("case", "channels"), EACH)
def test_op_draws_for_each_example(case, channels):
    same = tf.repeat(pictures(channels)[:1], BATCH, axis=0)
    augmented = case.op(same, tf.constant(SEED)).numpy().round(4)
    assert len({image.tobytes() for image in augmented}) >= case.distinct


@pytest.mark.parametrize(("case", "channels"), [p for p in EACH if p.values[0].still is not None])
def test_op_of_strength_zero_changes_nothing(case, channels):
    images = pictures(channels)
    np.testing.assert_allclose(case.still(images, tf.constant(SEED)), images, atol=2e-5)


@pytest.mark.parametrize(("case", "channels"), EACH)
def test_op_in_a_policy_leaves_labels_alone(case, channels):
    labels = tf.range(BATCH)
    images, kept = Policy({"op": case.op})(pictures(channels), labels, tf.constant(SEED))
    assert kept is labels
    assert images.shape[0] == BATCH


def test_translation_by_whole_pixels_moves_the_picture():
    # Shifts lie within ±1 of a width of 24, so some point between the pixels is drawn: the centre of mass of a dot
    # wanders by at most one pixel across and never up or down.
    dot = np.zeros((BATCH, 20, 24, 1), np.float32)
    dot[:, 10, 12] = 1
    moved = Translation(height=0.0, width=1 / 24)(tf.constant(dot), tf.constant(SEED)).numpy()[..., 0]
    across = (moved.sum(axis=1) * np.arange(24)).sum(axis=1)
    down = (moved.sum(axis=2) * np.arange(20)).sum(axis=1)
    np.testing.assert_allclose(down, 10, atol=1e-4)
    assert np.abs(across - 12).max() <= 1 + 1e-4
    assert across.min() < 11.8
    assert across.max() > 12.2


def test_rotation_turns_about_the_centre_by_at_most_its_degrees():
    # A dot 8 pixels right of the centre of a 21×21 picture stays 8 away and turns by less than 30 degrees.
    dot = np.zeros((BATCH, 21, 21, 1), np.float32)
    dot[:, 10, 18] = 1
    turned = Rotation(30.0)(tf.constant(dot), tf.constant(SEED)).numpy()[..., 0]
    turned /= turned.sum(axis=(1, 2), keepdims=True)
    x = (turned.sum(axis=1) * np.arange(21)).sum(axis=1) - 10
    y = (turned.sum(axis=2) * np.arange(21)).sum(axis=1) - 10
    np.testing.assert_allclose(np.hypot(x, y), 8, atol=0.5)
    degrees = np.degrees(np.arctan2(y, x))
    assert np.abs(degrees).max() <= 31
    assert degrees.min() < -5
    assert degrees.max() > 5


def test_zoom_above_one_enlarges():
    square = np.zeros((BATCH, 20, 20, 1), np.float32)
    square[:, 8:12, 8:12] = 1
    larger = Zoom(1.5, 1.5)(tf.constant(square), tf.constant(SEED)).numpy()
    np.testing.assert_allclose(larger.sum(axis=(1, 2, 3)), 16 * 1.5**2, rtol=0.1)


def test_shear_slants_about_the_centre():
    # A column of dots at x = 10 of a 21×21 picture. The row d below the centre moves by s · d, the centre row not at
    # all; |s| <= 0.5, and 16 draws reach beyond 0.25 on both sides.
    line = np.zeros((BATCH, 21, 21, 1), np.float32)
    line[:, :, 10] = 1
    slanted = Shear(x=0.5, y=0.0)(tf.constant(line), tf.constant(SEED)).numpy()[..., 0]
    places = (slanted * np.arange(21)).sum(axis=2) / slanted.sum(axis=2) - 10
    np.testing.assert_allclose(places[:, 10], 0, atol=1e-4)
    slope = (places[:, 18] - places[:, 2]) / 16
    np.testing.assert_allclose(places, slope[:, None] * (np.arange(21) - 10), atol=0.05)
    assert np.abs(slope).max() <= 0.5 + 1e-4
    assert slope.min() < -0.25
    assert slope.max() > 0.25


def test_flip_mirrors_about_half_of_the_pictures():
    images = tf.repeat(pictures(3), 16, axis=0)
    flipped = Flip()(images, tf.constant(SEED)).numpy()
    mirrored = (flipped == images.numpy()[:, :, ::-1]).all(axis=(1, 2, 3))
    kept = (flipped == images.numpy()).all(axis=(1, 2, 3))
    assert (mirrored ^ kept).all()
    # 256 draws at one half: 128 ± 8; five deviations away is 88.
    assert 88 < mirrored.sum() < 168
    np.testing.assert_array_equal(Flip(1.0, vertical=True)(images, tf.constant(SEED)), images.numpy()[:, ::-1])


def test_padded_crop_equals_cutting_from_a_padded_picture():
    images = pictures(3).numpy()
    cropped = PaddedCrop(2)(tf.constant(images), tf.constant(SEED)).numpy()
    padded = np.pad(images, [(0, 0), (2, 2), (2, 2), (0, 0)])
    for crop, source in zip(cropped, padded, strict=True):
        windows = [source[y : y + 20, x : x + 24] for y in range(5) for x in range(5)]
        assert sum(np.array_equal(crop, window) for window in windows) == 1


def test_padded_crop_uses_every_place_alike():
    # One bright pixel in the middle shows where the window lay: 5×5 places for padding 2, 4,000 draws, 160 each.
    images = np.zeros((4_000, 9, 9, 1), np.float32)
    images[:, 4, 4] = 1
    places = PaddedCrop(2)(tf.constant(images), tf.constant(SEED)).numpy()[..., 0].sum(axis=0)
    assert places.sum() == 4_000
    assert (places > 0).sum() == 25
    assert places[places > 0].min() > 100
    assert places.max() < 220


def test_colour_leaves_grey_pictures_grey():
    grey = tf.repeat(pictures(1), 3, axis=-1)
    coloured = Colour(0.0, 0.0, 0.9, 0.5)(grey, tf.constant(SEED))
    np.testing.assert_allclose(coloured, grey, atol=1e-5)


def test_colour_hue_keeps_luma():
    images = 0.4 + 0.2 * pictures(3)
    turned = Colour(0.0, 0.0, 0.0, 0.1)(images, tf.constant(SEED))
    luma = tf.constant([0.299, 0.587, 0.114])
    np.testing.assert_allclose(tf.tensordot(turned, luma, 1), tf.tensordot(images, luma, 1), atol=1e-4)
    assert not np.allclose(turned, images, atol=1e-2)


def test_colour_contrast_keeps_the_mean():
    images = 0.4 + 0.2 * pictures(1)
    changed = Colour(0.0, 0.9, 0.0, 0.0)(images, tf.constant(SEED)).numpy()
    np.testing.assert_allclose(changed.mean(axis=(1, 2)), images.numpy().mean(axis=(1, 2)), atol=1e-4)


def test_colour_refuses_other_than_one_or_three_channels():
    with pytest.raises(ConfigError, match="4 channels"):
        Colour()(tf.zeros((2, 8, 8, 4)), tf.constant(SEED))


def test_channel_shuffle_uses_every_order_alike():
    # 1,200 draws of six orders of (0, 0.1, 0.9), 200 ± 13 each.
    images = tf.tile(tf.constant([0.0, 0.1, 0.9])[None, None, None], (1_200, 2, 2, 1))
    shuffled = ChannelShuffle(1.0)(images, tf.constant(SEED)).numpy()
    assert (shuffled == shuffled[:, :1, :1]).all()
    orders, counts = np.unique(shuffled[:, 0, 0], axis=0, return_counts=True)
    np.testing.assert_array_equal(np.sort(orders), np.tile(images[0, 0, 0], (6, 1)))
    assert counts.min() > 135
    # Of half of the pictures, one in six orders leaves them: 1,200 · (1 - 5/12) = 700 ± 17.
    kept = (ChannelShuffle(0.5)(images, tf.constant(SEED)).numpy() == images.numpy()).all(axis=(1, 2, 3))
    assert 615 < kept.sum() < 785


def test_channel_shuffle_refuses_a_single_channel_or_leaves_it():
    with pytest.raises(ConfigError, match=r"ChannelShuffle cannot take pictures of \(20, 24, 1\)") as raised:
        ChannelShuffle()(pictures(1), tf.constant(SEED))
    assert "\n" not in str(raised.value)
    images = pictures(1)
    assert ChannelShuffle(grey="leave")(images, tf.constant(SEED)) is images


def test_noise_has_its_deviation_and_no_mean():
    # 200×20×24 draws of deviation 0.05 about 0.5, ten deviations from either end: no clipping.
    noisy = Noise(0.05)(tf.fill((200, 20, 24, 1), 0.5), tf.constant(SEED)).numpy()
    assert abs(noisy.mean() - 0.5) < 1e-3
    assert abs(noisy.std() - 0.05) < 1e-3


def test_noise_of_an_odd_number_of_pixels_differs_from_pixel_to_pixel():
    noisy = Noise(0.05)(tf.fill((3, 5, 5, 1), 0.5), tf.constant(SEED)).numpy()
    assert noisy.shape == (3, 5, 5, 1)
    assert len(np.unique(noisy)) == 75


def test_occlusion_covers_its_share_with_one_rectangle():
    white = tf.ones((400, 32, 32, 1))
    covered = Occlusion(1.0, 0.1, 0.2, cover="zero")(white, tf.constant(SEED)).numpy()[..., 0] == 0
    shares = covered.mean(axis=(1, 2))
    # Sides are rounded to whole pixels: at most half a pixel each of sides of 7 to 20.
    assert shares.min() > 0.085
    assert shares.max() < 0.22
    assert shares.std() > 0.02
    rows, columns = covered.any(axis=2).sum(axis=1), covered.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(rows * columns, covered.sum(axis=(1, 2)))
    assert (np.maximum(rows, columns) / np.minimum(rows, columns)).max() < 2.4
    # Over 400 draws a uniform place reaches every row and every column, both borders included.
    assert covered.any(axis=(0, 1)).all()
    assert covered.any(axis=(0, 2)).all()


def test_occlusion_covers_with_its_probability():
    covered = (
        Occlusion(0.25, cover="zero")(tf.ones((800, 16, 16, 1)), tf.constant(SEED)).numpy().min(axis=(1, 2, 3)) == 0
    )
    # 800 draws at a quarter: 200 ± 12.
    assert 140 < covered.sum() < 260


def test_ops_refuse_ranges_that_are_upside_down():
    with pytest.raises(ConfigError, match="low <= high"):
        Zoom(1.2, 0.8)
    with pytest.raises(ConfigError, match="low <= high"):
        Occlusion(low=0.5, high=0.1)
    with pytest.raises(ConfigError, match=r"stretch=0\.5 is below 1"):
        Occlusion(stretch=0.5)


def test_kerascv_unknown_layer_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'GridMask'") as raised:
        KerasCVLayer("GridMsk")
    assert "\n" not in str(raised.value)


def test_kerascv_wrong_option_is_one_line():
    with pytest.raises(ConfigError, match="GridMask does not take"):
        KerasCVLayer("GridMask", {"ratio": 0.5})


def test_kerascv_layer_that_cannot_take_the_pictures_says_so():
    with pytest.raises(ConfigError, match=r"cannot take pictures of \(20, 24, 1\).*divisible") as raised:
        KerasCVLayer("ChannelShuffle")(pictures(1), tf.constant(SEED))
    assert "\n" not in str(raised.value)


def test_kerascv_layer_works_when_traced_anew_and_leaves_the_global_generator_alone(monkeypatch):
    # Under op determinism the global generator may not even be made.
    monkeypatch.setattr(tf.random, "get_global_generator", lambda: pytest.fail("the global generator was used"))
    op = KerasCVLayer("GridMask", {"ratio_factor": [0.3, 0.5]})
    for channels in (1, 3, 1):
        images = pictures(channels)
        first, second = (op(images, tf.constant(seed)).numpy() for seed in (SEED, OTHER))
        np.testing.assert_array_equal(first, op(images, tf.constant(SEED)))
        assert not np.array_equal(first, second)


def test_kerascv_layer_that_draws_outside_of_its_seed_is_refused():
    # AugMix draws from tf.random.gamma, which no seed of ours reaches.
    with pytest.raises(ConfigError, match="draws outside of its seed") as raised:
        KerasCVLayer("AugMix", {"value_range": (0, 255)})(pictures(3), tf.constant(SEED))
    assert "\n" not in str(raised.value)
