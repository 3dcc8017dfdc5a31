"""Tones and colours against numbers by hand, and against PIL, whose operations they are."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from kerasnn.augment import tone
from kerasnn.augment.tone import AutoContrast, Equalize, Posterize, Solarize
from kerasnn.errors import ConfigError

SEED = (3, 5)


def picture(channels: int = 3, size: int = 33) -> np.ndarray:
    """Smooth and uneven in tone, uint8."""
    rng = np.random.default_rng(11)
    coarse = Image.fromarray((rng.random((5, 6, 3)) * 170 + 30).astype(np.uint8))
    smooth = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))
    return smooth[..., :channels]


def batch(image: np.ndarray) -> tf.Tensor:
    return tf.constant(image[None] / np.float32(255), tf.float32)


def row(*levels: int) -> tf.Tensor:
    """One grey picture of a single row, of levels from 0 to 255."""
    return tf.constant(np.array(levels, np.float32)[None, None, :, None] / 255)


def levels(images: tf.Tensor) -> np.ndarray:
    return images.numpy()[0] * 255


def factor(number: float) -> tf.Tensor:
    return tf.constant([number], tf.float32)


def test_auto_contrast_by_hand():
    # From 51 … 153 to 0 … 255: (v - 51) · 2.5.
    np.testing.assert_allclose(levels(tone.auto_contrast(row(51, 71, 153)))[0, :, 0], [0, 50, 255], atol=1e-3)
    np.testing.assert_allclose(tone.auto_contrast(row(9, 9)), row(9, 9), atol=1e-7)  # A single tone stays.


def test_auto_contrast_stretches_each_channel_by_itself():
    image = np.array([[[0, 100, 10], [255, 200, 10]]], np.uint8)
    stretched = levels(tone.auto_contrast(batch(image)))
    np.testing.assert_allclose(stretched, [[[0, 0, 10], [255, 255, 10]]], atol=1e-3)


def test_posterize_by_hand():
    # Four bits: multiples of 16. 200 = 12 · 16 + 8, 15 is below the first; of one bit only 128 is left.
    kept = tone.posterize(tf.concat([row(0, 15, 16, 200, 255)] * 2, axis=0), tf.constant([4.0, 1.0])) * 255
    np.testing.assert_allclose(kept[:, 0, :, 0], [[0, 0, 16, 192, 240], [0, 0, 0, 128, 128]], atol=1e-3)


def test_solarize_by_hand():
    np.testing.assert_allclose(
        levels(tone.solarize(row(0, 100, 200, 255), factor(0.5)))[0, :, 0], [0, 100, 55, 0], atol=1e-3
    )
    np.testing.assert_allclose(levels(tone.solarize(row(0, 255), factor(0.0)))[0, :, 0], [255, 0], atol=1e-3)


def test_brightness_contrast_and_colour_by_hand():
    np.testing.assert_allclose(levels(tone.brightness(row(10, 200), factor(1.5)))[0, :, 0], [15, 255], atol=1e-3)
    # The mean of 100 and 200 is 150; half of each distance stays.
    np.testing.assert_allclose(levels(tone.contrast(row(100, 200), factor(0.5)))[0, :, 0], [125, 175], atol=1e-3)
    # Pure red has the grey 0.299 · 255 = 76.2; halfway to it lies (165.6, 38.1, 38.1).
    red = np.array([[[255, 0, 0]]], np.uint8)
    np.testing.assert_allclose(levels(tone.colour(batch(red), factor(0.5)))[0, 0], [165.6, 38.1, 38.1], atol=0.05)


def test_sharpness_by_hand():
    # A dot of 130 in a black picture: filtered, it is 130 · 5/13 = 50 and its neighbours 130/13 = 10. The outermost
    # pixels are not filtered. A factor of 2 doubles the distance: 130 + 80 = 210, and 0 - 10 is cut off.
    dot = np.zeros((5, 5, 1), np.uint8)
    dot[2, 2] = 130
    smooth = np.zeros((5, 5))
    smooth[1:4, 1:4] = 10
    smooth[2, 2] = 50
    np.testing.assert_allclose(levels(tone.sharpness(batch(dot), factor(0.0)))[..., 0], smooth, atol=1e-3)
    sharp = levels(tone.sharpness(batch(dot), factor(2.0)))[..., 0]
    assert sharp[2, 2] == pytest.approx(210, abs=1e-3)
    assert np.delete(sharp.ravel(), 12).max() == 0


def test_sharpness_of_pictures_without_inner_pixels_changes_nothing():
    np.testing.assert_array_equal(tone.sharpness(row(1, 2, 3), factor(0.0)), row(1, 2, 3))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("own", "pil", "within"),
    [
        (lambda x: tone.equalize(x), ImageOps.equalize, 0),
        (lambda x: tone.posterize(x, factor(3)), lambda x: ImageOps.posterize(x, 3), 0),
        (lambda x: tone.solarize(x, factor(100 / 255)), lambda x: ImageOps.solarize(x, 100), 0),
        (lambda x: tone.auto_contrast(x), ImageOps.autocontrast, 1),
        (lambda x: tone.brightness(x, factor(0.6)), lambda x: ImageEnhance.Brightness(x).enhance(0.6), 1),
        (lambda x: tone.contrast(x, factor(1.7)), lambda x: ImageEnhance.Contrast(x).enhance(1.7), 1.5),
        (lambda x: tone.colour(x, factor(0.3)), lambda x: ImageEnhance.Color(x).enhance(0.3), 1.5),
        (lambda x: tone.sharpness(x, factor(1.9)), lambda x: ImageEnhance.Sharpness(x).enhance(1.9), 1.5),
    ],
    ids=["equalize", "posterize", "solarize", "auto_contrast", "brightness", "contrast", "colour", "sharpness"],
)
def test_tone_is_that_of_pil(own, pil, within, channels):
    # PIL rounds to whole levels on the way: once for brightness, also the mean or the filtered picture for others.
    image = picture(channels)
    expected = np.asarray(pil(Image.fromarray(image.squeeze()))).reshape(image.shape)
    assert not np.array_equal(expected, image) or (channels == 1 and "Color" in str(pil.__code__.co_names))
    np.testing.assert_allclose(levels(own(batch(image))), expected, atol=within + 1e-3)


@pytest.mark.parametrize("tones", [1, 2, 3])
def test_equalize_of_few_tones_is_that_of_pil(tones):
    image = np.repeat(np.arange(tones, dtype=np.uint8) * 70 + 20, 12).reshape(-1, 6)
    expected = np.asarray(ImageOps.equalize(Image.fromarray(image)))
    np.testing.assert_allclose(levels(tone.equalize(batch(image[..., None])))[..., 0], expected, atol=1e-3)


@pytest.mark.parametrize(
    "empty",
    [
        lambda x: tone.auto_contrast(x),
        lambda x: tone.equalize(x),
        lambda x: tone.posterize(x, tf.zeros([0])),
        lambda x: tone.solarize(x, tf.zeros([0])),
        lambda x: tone.brightness(x, tf.zeros([0])),
        lambda x: tone.contrast(x, tf.zeros([0])),
        lambda x: tone.colour(x, tf.zeros([0])),
        lambda x: tone.sharpness(x, tf.zeros([0])),
    ],
)
def test_tone_of_no_pictures_is_no_pictures(empty):
    assert empty(tf.zeros((0, 8, 8, 3))).shape == (0, 8, 8, 3)


def test_ops_change_their_share_of_the_pictures():
    images = tf.repeat(batch(picture()), 400, axis=0)
    for op in (AutoContrast(0.25), Posterize(2, 0.25), Solarize(0.2, 0.25)):
        changed = (op(images, tf.constant(SEED)).numpy() != images.numpy()).any(axis=(1, 2, 3))
        # 400 draws at a quarter: 100 ± 9.
        assert 60 < changed.sum() < 140
    np.testing.assert_array_equal(AutoContrast(1.0)(images, tf.constant(SEED)), tone.auto_contrast(images))


@pytest.mark.parametrize("op", [AutoContrast(0.0), Posterize(2, 0.0), Solarize(0.2, 0.0), Equalize(0.0)])
def test_pictures_that_are_not_chosen_keep_every_bit(op):
    # Also those between the 256 levels, and both ends.
    images = tf.concat(
        [tf.random.stateless_uniform((4, 9, 9, 3), SEED), tf.zeros((1, 9, 9, 3)), tf.ones((1, 9, 9, 3))], 0
    )
    np.testing.assert_array_equal(op(images, tf.constant(SEED)), images)


@pytest.mark.parametrize("bits", range(1, 9))
def test_posterize_of_every_level_is_that_of_its_bits(bits):
    kept = levels(tone.posterize(row(*range(256)), factor(bits)))[0, :, 0]
    np.testing.assert_allclose(kept, np.arange(256) & (0xFF << (8 - bits)), atol=1e-3)


def test_colours_of_two_channels_are_refused():
    with pytest.raises(ConfigError, match="2 channels"):
        tone.contrast(tf.zeros((1, 4, 4, 2)), factor(1.0))
