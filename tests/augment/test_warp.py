"""Resampling against SciPy's, which knows the same four ways to go on beyond the border."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import map_coordinates

from kerasnn.augment.compiled import compiled
from kerasnn.augment.warp import warp

# Black begins a pixel beyond the border, and the last pixel fades into it; the first follows the last as any other.
MODES = {"reflect": "reflect", "nearest": "nearest", "wrap": "grid-wrap", "constant": "grid-constant"}


def random_pictures(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(4).random(shape, np.float32)


def random_matrices(count: int, strength: float, shift: float) -> np.ndarray:
    """Matrices about the unit matrix, mirrored and turned at will where the strength is large."""
    rng = np.random.default_rng(5)
    matrices = np.eye(3) + strength * rng.normal(size=(count, 3, 3))
    matrices[:, :2, 2] = shift * rng.normal(size=(count, 2))
    matrices[:, 2] = [0, 0, 1]
    return matrices.astype(np.float32)


def expected(images: np.ndarray, matrices: np.ndarray, fill: str) -> np.ndarray:
    """Each channel of each picture by SciPy, in double precision."""
    places = np.stack([axis.ravel() for axis in np.mgrid[: images.shape[1], : images.shape[2]][::-1]])  # x, y
    result = np.empty(images.shape)
    for image, matrix, output in zip(images, matrices.astype(float), result, strict=True):
        x, y = matrix[:2, :2] @ places + matrix[:2, 2:]
        for channel in range(images.shape[3]):
            sampled = map_coordinates(image[..., channel].astype(float), [y, x], order=1, mode=MODES[fill])
            output[..., channel] = sampled.reshape(image.shape[:2])
    return result


@pytest.mark.parametrize("fill", MODES)
@pytest.mark.parametrize(
    ("shape", "strength", "shift"),
    [
        ((6, 9, 13, 3), 0.2, 2.0),  # As augmentation draws them, on a picture that is not square …
        ((6, 13, 8, 1), 1.5, 60.0),  # … and far outside, several times the picture's size away.
        ((3, 1, 7, 2), 0.5, 3.0),
        ((3, 1, 1, 1), 0.5, 3.0),
    ],
)
def test_warp_is_that_of_scipy(shape, strength, shift, fill):
    images, matrices = random_pictures(shape), random_matrices(shape[0], strength, shift)
    warped = warp(tf.constant(images), tf.constant(matrices), fill).numpy()
    # A place is a float32: beyond 64 pixels to within 2^-18 of one, and a few such errors add up.
    np.testing.assert_allclose(warped, expected(images, matrices, fill), atol=1e-4)
    assert warped.min() >= 0
    assert warped.max() <= 1


@pytest.mark.parametrize("fill", ["reflect", "nearest", "constant"])
def test_warp_is_that_of_tensorflow(fill):
    # TensorFlow's own op, but for `wrap`, where it leaps from the last pixel to the first.
    images, matrices = random_pictures((6, 16, 16, 3)), random_matrices(6, 0.3, 4.0)
    op = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=matrices.reshape(-1, 9)[:, :8],
        output_shape=[16, 16],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode=fill.upper(),
    )
    np.testing.assert_allclose(warp(tf.constant(images), tf.constant(matrices), fill), op, atol=2e-5)


@pytest.mark.parametrize("fill", MODES)
def test_warp_by_the_unit_matrix_changes_no_bit(fill):
    images = tf.constant(random_pictures((4, 7, 9, 3)))
    np.testing.assert_array_equal(warp(images, tf.eye(3, batch_shape=[4]), fill), images)


def test_warp_of_white_stays_white_and_no_more():
    # The weights of the four neighbours add up to 1 only within rounding.
    matrices = tf.constant(random_matrices(64, 0.3, 3.0))
    warped = warp(tf.ones((64, 16, 16, 1)), matrices, "reflect").numpy()
    assert warped.max() == 1
    assert warped.min() > 1 - 1e-6


def test_warp_of_no_pictures_is_no_pictures():
    assert warp(tf.zeros((0, 8, 8, 3)), tf.zeros((0, 3, 3)), "reflect").shape == (0, 8, 8, 3)


def test_compiled_function_is_traced_for_a_batch_of_any_size():
    @compiled
    def double(images):
        traced.append(images.shape)
        return 2 * images

    traced = []
    graph = tf.function(double).get_concrete_function(tf.TensorSpec((None, 2)))
    for count in (1, 3):
        np.testing.assert_array_equal(graph(tf.ones((count, 2))), np.full((count, 2), 2))
    assert [shape.as_list() for shape in traced] == [[None, 2]]
    assert double.__name__ == "double"
