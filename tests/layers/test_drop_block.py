"""DropBlock: which numbers fall, how many, and by what the others grow."""

import keras
import numpy as np
import pytest
from checks import check_layer, draw
from numpy.testing import assert_allclose

from kerasnn.layers.drop_block import DropBlock2D, spread


def opened(mask, side):
    """What is left of a mask `(height, width)` when only whole squares of `side` count."""
    height, width = mask.shape
    covered = np.zeros_like(mask)
    for top in range(height - side + 1):
        for left in range(width - side + 1):
            square = np.s_[top : top + side, left : left + side]
            if mask[square].all():
                covered[square] = True
    return covered


@pytest.mark.parametrize("options", [{"rate": 0.2}, {"rate": 0.2, "block_size": 2, "seed": 3}])
def test_drop_block_keeps_the_contract(options, tmp_path):
    check_layer(DropBlock2D, options, (2, 4, 4, 3), (2, 4, 4, 3), path=tmp_path / "layer.keras")


def test_block_spreads_down_and_right_of_its_corner():
    # On a map of 3×4, blocks of 2×3 have 2 × 2 corners; that in the second row and first column covers the rest below.
    corners = np.zeros((1, 2, 2, 1), "float32")
    corners[0, 1, 0] = 1
    assert np.array(spread(corners, (2, 3)))[0, :, :, 0].tolist() == [[0, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0]]


def test_what_is_kept_grows_by_count_over_kept(monkeypatch):
    # One block of 2×2 in one of two maps of 4×4: 4 of 32 numbers fall, the others grow by 32 / 28 = 8 / 7.
    corners = np.zeros((1, 3, 3, 2), "float32")
    corners[0, 1, 1, 0] = 1
    monkeypatch.setattr(DropBlock2D, "_corners", lambda self, inputs, block: keras.ops.convert_to_tensor(corners))
    output = np.array(DropBlock2D(0.1, block_size=2)(np.ones((1, 4, 4, 2), "float32"), training=True))
    expected = np.full((4, 4, 2), 8 / 7)
    expected[1:3, 1:3, 0] = 0
    assert_allclose(output[0], expected, rtol=1e-6)


def test_dropped_numbers_make_whole_blocks_within_their_map():
    output = np.array(DropBlock2D(0.2, block_size=3, seed=1)(np.ones((2, 8, 9, 5), "float32"), training=True))
    masks = np.moveaxis(output == 0, 3, 1).reshape(10, 8, 9)
    assert masks.any()
    for mask in masks:
        assert np.array_equal(opened(mask, 3), mask)
    assert len({mask.tobytes() for mask in masks}) > 1  # Each map has blocks of its own.


def test_share_that_falls_is_the_rate_less_the_overlaps():
    # A number falls unless none of the corners whose block covers it was drawn: 1 - (1 - gamma)^corners. Of 10×10 with
    # blocks of 3 there are 8 × 8 corners, gamma = 0.2 × 100 / 9 / 64; a row is covered by 1, 2, 3, …, 3, 2, 1 of them.
    gamma = 0.2 * 100 / 9 / 64
    rows = np.array([1, 2, 3, 3, 3, 3, 3, 3, 2, 1])
    share = (1 - (1 - gamma) ** np.outer(rows, rows)).mean()
    assert 0.15 < share < 0.2
    output = np.array(DropBlock2D(0.2, block_size=3, seed=0)(np.ones((100, 10, 10, 100), "float32"), training=True))
    assert abs((output == 0).mean() - share) < 0.005  # Of 10,000 maps of two blocks or so: 0.0014 of deviation.


def test_each_example_keeps_its_sum():
    # Ones that are multiplied by count / kept sum to count, whatever fell: 6 × 6 × 8 = 288, in every example.
    output = np.array(DropBlock2D(0.3, seed=2)(np.ones((4, 6, 6, 8), "float32"), training=True))
    assert_allclose(output.sum(axis=(1, 2, 3)), 288, rtol=1e-5)
    assert len({(example == 0).sum() for example in output}) > 1


@pytest.mark.parametrize(
    ("size", "shape", "block"),
    [(None, (14, 14), (7, 7)), (None, (64, 64), (7, 7)), (None, (5, 9), (3, 3)), (None, (1, 1), (1, 1)),
     (7, (4, 8), (4, 7))],
)  # fmt: skip
def test_block_is_half_of_the_shorter_side_and_never_larger_than_the_map(size, shape, block):
    assert DropBlock2D(0.1, block_size=size)._block(*shape) == block


def test_drop_block_acts_in_training_alone():
    inputs = draw((2, 4, 4, 3))
    layer = DropBlock2D(0.5)
    assert np.array_equal(layer(inputs), inputs)
    assert not np.array_equal(layer(inputs, training=True), inputs)
    assert np.array_equal(DropBlock2D(0.0)(inputs, training=True), inputs)


def test_drop_block_refuses_maps_of_unknown_size():
    with pytest.raises(ValueError, match=r"known size, not \(None, None, 4, 3\)"):
        DropBlock2D(0.1)(keras.Input((None, 4, 3)))
