"""Mixed pictures have labels mixed alike; the draws are those of the papers."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from kerasnn.augment.chance import beta, dirichlet, normal
from kerasnn.augment.kerascv import KerasCVMix
from kerasnn.augment.mix import CutMix, FourierMix, MixUp, Mosaic
from kerasnn.errors import ConfigError

BATCH = 16
SEED, OTHER = (3, 5), (3, 6)

OPS = {
    "mixup": MixUp(1.0),
    "cutmix": CutMix(),
    "fourier_mix": FourierMix(),
    "mosaic": Mosaic(),
    "mosaic_of_keras_cv": KerasCVMix("Mosaic"),
}


def marked(batch: int = BATCH, height: int = 12, width: int = 10) -> tuple[tf.Tensor, tf.Tensor]:
    """A class for each picture, and a channel for each class: picture c is 1 in channel c, and 0 elsewhere.

    Whatever is mixed, the mean of channel c must be the share of class c.
    """
    images = tf.one_hot(tf.tile(tf.range(batch)[:, None, None], (1, height, width)), batch)
    return images, tf.one_hot(tf.range(batch), batch)


@pytest.mark.parametrize("name", OPS)
def test_shares_are_those_of_the_pixels(name):
    mixed, shares = OPS[name](*marked(), tf.constant(SEED))
    means = tf.reduce_mean(mixed, axis=[1, 2])
    # keras-cv's window lies between whole pixels, while its label counts area: up to a pixel of 10 and one of 12.
    np.testing.assert_allclose(means, shares, atol=0.12 if name == "mosaic_of_keras_cv" else 1e-5)
    np.testing.assert_allclose(tf.reduce_sum(shares, axis=1), 1, atol=1e-5)
    assert (np.diag(shares.numpy()) < 0.999).any()


@pytest.mark.parametrize("name", OPS)
def test_mixing_is_a_function_of_its_seed_in_eager_graph_and_stream(name):
    images, shares = marked()
    eager = OPS[name](images, shares, tf.constant(SEED))
    seeds = tf.data.Dataset.from_tensor_slices([SEED, OTHER] * 3)
    streamed = list(seeds.map(lambda seed: OPS[name](images, shares, seed), num_parallel_calls=4))
    graph = tf.function(OPS[name])(images, shares, tf.constant(SEED))
    for one, other in ((graph, eager), (streamed[0], eager), (streamed[2], streamed[0]), (streamed[3], streamed[1])):
        for part, same in zip(one, other, strict=True):
            np.testing.assert_allclose(part, same, atol=1e-5)
    for one, other in ((streamed[2], streamed[0]), (streamed[3], streamed[1])):
        for part, same in zip(one, other, strict=True):
            np.testing.assert_array_equal(part, same)
    assert not np.allclose(streamed[0][1], streamed[1][1], atol=1e-3)


@pytest.mark.parametrize("name", OPS)
def test_mixing_keeps_shape_dtype_and_range(name):
    rng = np.random.default_rng(0)
    images = tf.constant(rng.random((BATCH, 12, 10, 3), np.float32))
    specs = tf.TensorSpec((None, 12, 10, 3)), tf.TensorSpec((None, BATCH)), tf.TensorSpec((2,), tf.int32)
    graph = tf.function(OPS[name]).get_concrete_function(*specs)
    mixed, shares = graph(images, tf.eye(BATCH), tf.constant(SEED))
    assert graph.structured_outputs[0].shape.as_list() == [None, 12, 10, 3]
    assert (mixed.dtype, shares.dtype) == (tf.float32, tf.float32)
    assert mixed.shape == images.shape
    assert shares.shape == (BATCH, BATCH)
    assert tf.reduce_min(mixed) >= 0
    assert tf.reduce_max(mixed) <= 1


@pytest.mark.parametrize("kind", [MixUp, CutMix, FourierMix])
def test_each_picture_is_mixed_with_one_other(kind):
    shares = kind(1.0)(*marked(), tf.constant(SEED))[1].numpy()
    own = np.diag(shares)
    rest = shares - np.diag(own)
    assert ((rest > 0).sum(axis=1) <= 1).all()
    np.testing.assert_allclose(rest.sum(axis=1), 1 - own, atol=1e-6)


@pytest.mark.parametrize("kind", [MixUp, CutMix, FourierMix])
def test_probability_is_that_of_being_mixed(kind):
    images, shares = marked(200, 6, 6)
    kept, same = kind(1.0, probability=0.0)(images, shares, tf.constant(SEED))
    np.testing.assert_allclose(kept, images, atol=1e-6)
    np.testing.assert_allclose(same, shares, atol=1e-6)
    own = np.diag(kind(1.0, probability=0.3)(images, shares, tf.constant(SEED))[1].numpy())
    # 200 draws at 0.3: 60 ± 6.5; of the mixed, a rectangle of less than two pixels a side changes nothing.
    assert 25 < (own < 1 - 1e-6).sum() < 95


def test_mosaic_leaves_what_is_not_chosen():
    images, shares = marked(200, 6, 6)
    kept, same = Mosaic(probability=0.0)(images, shares, tf.constant(SEED))
    np.testing.assert_array_equal(kept, images)
    np.testing.assert_array_equal(same, shares)
    own = np.diag(Mosaic(probability=0.3)(images, shares, tf.constant(SEED))[1].numpy())
    # 200 draws at 0.3: 60 ± 6.5; hardly ever are all others the picture itself.
    assert 30 < (own < 1 - 1e-6).sum() < 90
    with pytest.raises(ConfigError, match="low <= high"):
        Mosaic(0.8, 0.2)


def test_a_batch_of_one_is_left_alone():
    # Its own mosaic of a picture of a single tone is that picture.
    for op in (MixUp(1.0), CutMix(), FourierMix(), Mosaic()):
        images, shares = marked(1)
        mixed, same = op(images, shares, tf.constant(SEED))
        np.testing.assert_allclose(mixed, images, atol=1e-6)
        np.testing.assert_allclose(same, shares, atol=1e-6)


def test_mixup_by_hand():
    # Two pictures, 0 and 1: what each becomes is its share of the other; their labels say the same.
    images = tf.stack([tf.zeros((2, 2, 1)), tf.ones((2, 2, 1))])
    mixed, shares = MixUp(1.0)(images, tf.eye(2), tf.constant(SEED))
    np.testing.assert_allclose(mixed[0, 0, 0, 0], shares[0, 1], atol=1e-6)
    np.testing.assert_allclose(mixed[1, 0, 0, 0], shares[1, 1], atol=1e-6)
    assert 0 < shares[0, 1] < 1


def test_cutmix_pastes_one_rectangle_of_the_drawn_area():
    # Beta(1, 1) is even, so the area that is cut has a mean of a half, less what the border cuts off.
    shares = CutMix()(*marked(400, 8, 8), tf.constant(SEED))
    mixed, labels = shares[0].numpy(), np.diag(shares[1].numpy())
    for index, image in enumerate(mixed):
        foreign = image[..., index] == 0
        rows, columns = foreign.any(axis=1).sum(), foreign.any(axis=0).sum()
        assert rows * columns == foreign.sum()
        assert 1 - foreign.mean() == pytest.approx(labels[index], abs=1e-6)
    foreign = np.stack([image[..., index] == 0 for index, image in enumerate(mixed)])
    assert foreign.any(axis=0).all()  # It reaches every corner.


def test_fourier_mix_makes_connected_regions_of_the_drawn_area():
    # The surface falls with the third power of the frequency: of neighbouring pixels nearly all lie on the same side.
    mixed, labels = FourierMix()(*marked(64, 16, 16), tf.constant(SEED))
    own = np.stack([image[..., index] for index, image in enumerate(mixed.numpy())])
    split = (own[:, 1:] != own[:, :-1]).mean()
    assert split < 0.15  # Noise without structure would have a third.
    # Even in area: 64 draws of mean a half ± 0.036.
    assert 0.35 < np.diag(labels.numpy()).mean() < 0.65


def test_fourier_mix_surface_is_smooth_and_real_in_both_directions():
    surface = FourierMix()._surface(tf.constant(200), 16, 12, tf.constant(SEED)).numpy()
    assert surface.shape == (200, 16, 12)
    assert surface.std() > 0
    # Neighbours differ far less than pixels at a distance, along either axis.
    for axis in (1, 2):
        near = np.abs(np.diff(surface, axis=axis)).mean()
        far = np.abs(surface - np.roll(surface, 6, axis=axis)).mean()
        assert near < 0.7 * far


@pytest.mark.parametrize(("height", "width"), [(12, 10), (7, 9)])
def test_mosaic_shows_corners_of_four_pictures(height, width):
    # Class and place in one number, so that each pixel tells where it comes from: the window of a row's picture q is
    # that of its other corner, as in the grid that keras-cv makes.
    places = np.arange(BATCH * height * width, dtype=np.float32).reshape(BATCH, height, width, 1)
    images = tf.constant(places / places.size)
    mixed, shares = Mosaic()(images, tf.eye(BATCH), tf.constant(SEED))
    came_from = np.rint(mixed.numpy()[..., 0] * places.size).astype(int)
    who, row, column = (part for part in np.unravel_index(came_from, (BATCH, height, width)))
    for index in range(BATCH):
        # The lines of one picture end where the next one begins at its line 0.
        down, right = int(np.argmin(row[index, :, 0])), int(np.argmin(column[index, 0]))
        assert 0.25 * height - 0.5 <= down <= 0.75 * height + 0.5
        assert 0.25 * width - 0.5 <= right <= 0.75 * width + 0.5
        np.testing.assert_array_equal(row[index, :, 0], (np.arange(height) - down) % height)
        np.testing.assert_array_equal(column[index, 0], (np.arange(width) - right) % width)
        for quarter in (np.s_[:down, :right], np.s_[:down, right:], np.s_[down:, :right], np.s_[down:, right:]):
            assert len(np.unique(who[index][quarter])) == 1
        assert who[index, 0, 0] == index
        counted = np.bincount(who[index].ravel(), minlength=BATCH) / (height * width)
        np.testing.assert_allclose(shares[index], counted, atol=1e-6)
    assert len(np.unique(who)) == BATCH


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 5.0])
def test_beta_has_its_mean_and_deviation(alpha):
    # Of Beta(a, a): mean 1/2, variance 1 / (4 (2a + 1)); 20,000 draws settle both to a hundredth.
    draws = beta(tf.random.stateless_uniform([4, 20_000], SEED), alpha).numpy()
    assert np.isfinite(draws).all()
    assert draws.mean() == pytest.approx(0.5, abs=0.015)
    assert draws.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 20.0])
def test_beta_is_distributed_as_scipy_has_it(alpha):
    # Near 1 floats are too coarse for a small alpha, so each draw is taken by its smaller share, whose distribution is
    # that of the lower half twice over. Of 20,000 draws the largest distance stays below 1.95 / sqrt(20,000) = 0.0138
    # in 999 of 1,000 seeds; this one is fixed.
    draws = beta(tf.random.stateless_uniform([4, 20_000], SEED), alpha).numpy()
    assert abs((draws < 0.5).mean() - 0.5) < 0.0138
    smaller = np.minimum(draws, 1 - draws)[draws < 0.5]
    distance = stats.kstest(smaller, lambda x: 2 * stats.beta.cdf(x, alpha, alpha)).statistic
    assert distance < 1.95 / np.sqrt(len(smaller))


def test_normal_has_the_moments_and_tails_of_a_normal_distribution():
    draws = normal([2, 100_000], tf.constant(SEED)).numpy()
    assert draws.shape == (2, 100_000)
    for half in draws:
        # 100,000 draws: mean 0 ± 0.003, deviation 1 ± 0.002, fourth moment 3 ± 0.03.
        assert abs(half.mean()) < 0.015
        assert half.std() == pytest.approx(1, abs=0.01)
        assert (half**4).mean() == pytest.approx(3, abs=0.15)
    # 0.27 % lie beyond three deviations: 540 ± 23 of all.
    assert 420 < (np.abs(draws) > 3).sum() < 660
    assert abs(np.corrcoef(draws)[0, 1]) < 0.016  # ± 0.003; the two halves of a pair have nothing in common.


def test_dirichlet_columns_sum_to_one():
    draws = dirichlet(3, tf.constant(5_000), 1.0, tf.constant(SEED)).numpy()
    np.testing.assert_allclose(draws.sum(axis=0), 1, atol=1e-5)
    # Of three even parts each has the mean 1/3 and the variance (1/3 · 2/3) / 4 = 1/18.
    np.testing.assert_allclose(draws.mean(axis=1), 1 / 3, atol=0.02)
    np.testing.assert_allclose(draws.var(axis=1), 1 / 18, rtol=0.1)


def test_kerascv_layer_that_draws_outside_of_its_seed_is_refused():
    with pytest.raises(ConfigError, match=r"keras-cv layer MixUp draws outside of its seed \(.*Random") as raised:
        KerasCVMix("MixUp")(*marked(), tf.constant(SEED))
    assert "\n" not in str(raised.value)
