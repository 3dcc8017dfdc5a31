"""Every layer through one harness, and each one's arithmetic against numbers worked out by hand."""

import keras
import numpy as np
import pytest
from checks import check_layer, draw
from numpy.testing import assert_allclose

from kerasnn.layers.class_token import ClassToken
from kerasnn.layers.layer_scale import LayerScale
from kerasnn.layers.local_response_normalization import LocalResponseNormalization
from kerasnn.layers.looks_linear import LooksLinear
from kerasnn.layers.padded_identity import PaddedIdentity
from kerasnn.layers.partial_conv import PartialConv2D
from kerasnn.layers.position_embedding import PositionEmbedding
from kerasnn.layers.rbf_output import RBFOutput, target_codes
from kerasnn.layers.scaled_tanh import ScaledTanh
from kerasnn.layers.sinusoidal_positions import SinusoidalPositions, position_table
from kerasnn.layers.trainable_subsampling import TrainableSubsampling
from kerasnn.layers.transformer_block import TransformerBlock
from kerasnn.models.lenet import C3

CASES = {
    "scaled_tanh": (ScaledTanh, {}, (2, 4, 4, 3), (2, 4, 4, 3), 0),
    "local_response_normalization": (LocalResponseNormalization, {"alpha": 0.1}, (2, 4, 4, 7), (2, 4, 4, 7), 0),
    "trainable_subsampling": (TrainableSubsampling, {"size": 2}, (2, 5, 6, 3), (2, 2, 3, 3), 6),
    # Table I has 6 × 3 + 9 × 4 + 1 × 6 = 60 connections: 60 × 25 kernel weights and 16 biases make 1,516.
    "partial_conv": (PartialConv2D, {"connections": C3, "kernel_size": 5}, (2, 14, 14, 6), (2, 10, 10, 16), 1516),
    # 5 rows at stride 2 leave places 0, 2 and 4.
    "padded_identity": (PaddedIdentity, {"filters": 5, "strides": 2}, (2, 5, 6, 3), (2, 3, 3, 5), 0),
    "sinusoidal_positions": (SinusoidalPositions, {}, (2, 5, 7), (2, 5, 7), 0),
    "position_embedding": (PositionEmbedding, {}, (2, 5, 6), (2, 5, 6), 30),
    # Four projections 8 × 8 with biases, 288; dense layers 8 × 16 + 16 and 16 × 8 + 8, 280; two normalizations, 32.
    "transformer_block": (TransformerBlock, {"num_heads": 2, "hidden_dim": 16}, (2, 5, 8), (2, 5, 8), 600),
    # Without the 32 biases of attention.
    "transformer_block_as_in_gpt": (
        TransformerBlock,
        {
            "num_heads": 4,
            "hidden_dim": 16,
            "activation": "gelu_tanh",
            "pre_norm": True,
            "causal": True,
            "attention_bias": False,
            "kernel_initializer": keras.initializers.RandomNormal(stddev=0.2),
            "output_initializer": keras.initializers.RandomNormal(stddev=0.1),
        },
        (2, 5, 8),
        (2, 5, 8),
        568,
    ),
    "layer_scale": (LayerScale, {"initial": 0.5}, (2, 4, 4, 3), (2, 4, 4, 3), 3),
    "class_token": (ClassToken, {}, (2, 5, 6), (2, 6, 6), 6),
    "rbf_output": (RBFOutput, {"units": 10}, (2, 84), (2, 10), 0),
    "rbf_output_of_3": (RBFOutput, {"units": 3}, (2, 84), (2, 3), 0),
}


@pytest.mark.parametrize("case", CASES)
def test_layer_keeps_the_contract(case, tmp_path):
    kind, options, input_shape, output_shape, trainable = CASES[case]
    check_layer(kind, options, input_shape, output_shape, trainable=trainable, path=tmp_path / "layer.keras")


def test_scaled_tanh_keeps_one_and_zero():
    # The amplitude was chosen so that f(±1) = ±1, to the four digits in which it is given.
    assert_allclose(ScaledTanh()(np.array([-1.0, 0.0, 1.0], "float32")), [-1, 0, 1], atol=1e-4)


def test_local_response_normalization_divides_by_the_neighbours_energy():
    # Channels 1, 2, 3 with size 3, k = 1, alpha = 1, beta = 1: energies are 1+4, 1+4+9, 4+9, so 1/6, 2/15, 3/14.
    layer = LocalResponseNormalization(size=3, k=1.0, alpha=1.0, beta=1.0)
    assert_allclose(layer(np.array([[1.0, 2.0, 3.0]], "float32")), [[1 / 6, 2 / 15, 3 / 14]], rtol=1e-6)


def test_local_response_normalization_defaults_are_the_papers():
    # One channel of 100 has energy 10,000: the divisor is (2 + 1e-4 × 1e4)^0.75 = 3^0.75 = 2.2795.
    assert_allclose(LocalResponseNormalization()(np.array([[100.0]], "float32")), [[100 / 3**0.75]], rtol=1e-6)


def test_local_response_normalization_does_not_overflow_in_float16():
    # 1000² is beyond float16's 65,504; (2 + 1e-4 × 1e6)^0.75 = 102^0.75 = 32.1.
    output = LocalResponseNormalization(dtype="mixed_float16")(np.array([[1000.0]], "float16"))
    assert_allclose(np.array(output), [[1000 / 102**0.75]], rtol=1e-3)


def test_local_response_normalization_refuses_an_even_size():
    with pytest.raises(ValueError, match="size=4 has no middle channel: give an odd number, such as 5"):
        LocalResponseNormalization(size=4)


def test_trainable_subsampling_scales_and_shifts_the_average():
    # One patch 1 2 / 3 6 has average 3; coefficient 2 and bias -1 make 5.
    layer = TrainableSubsampling()
    layer.build((1, 2, 2, 1))
    layer.set_weights([np.array([2.0]), np.array([-1.0])])
    assert_allclose(layer(np.array([[[[1.0], [2.0]], [[3.0], [6.0]]]], "float32")), [[[[5.0]]]])


def test_partial_conv_sees_only_the_maps_of_its_table():
    # Output 0 sees map 0 alone, output 1 maps 1 and 2: with 1×1 kernels 2, 3, 5 a pixel (1, 10, 100) gives 2 and 530.
    layer = PartialConv2D(connections=[[0], [1, 2]], kernel_size=1)
    layer.build((1, 1, 1, 3))
    layer.set_weights([np.array([[[2.0, 3.0, 5.0]]]), np.array([0.0, 0.0])])
    assert_allclose(layer(np.array([[[[1.0, 10.0, 100.0]]]], "float32")), [[[[2.0, 530.0]]]])


def test_partial_conv_equals_a_dense_one_whose_missing_kernels_are_zero():
    layer = PartialConv2D(connections=C3, kernel_size=5)
    inputs = draw((2, 14, 14, 6))
    outputs = layer(inputs)
    packed, kernel = layer.get_weights()[0], np.zeros((5, 5, 6, 16), "float32")
    edge = 0
    for out, maps in enumerate(C3):
        for seen in maps:
            kernel[:, :, seen, out] = packed[:, :, edge]
            edge += 1
    assert_allclose(outputs, keras.ops.conv(inputs, kernel), rtol=1e-4, atol=1e-5)


def test_partial_conv_names_a_map_that_is_not_there():
    with pytest.raises(ValueError, match="connections name input map 5, but the input has only 3 maps"):
        PartialConv2D(connections=[[0, 5]], kernel_size=5).build((1, 14, 14, 3))


def test_padded_identity_keeps_every_second_place_and_adds_zero_channels():
    # Places 1 2 3 / 4 5 6 / 7 8 9 at stride 2 leave the corners 1 3 / 7 9; the second and third channel are zeros.
    picture = np.arange(1.0, 10.0, dtype="float32").reshape(1, 3, 3, 1)
    output = np.array(PaddedIdentity(3, strides=2)(picture))
    assert output[0, :, :, 0].tolist() == [[1, 3], [7, 9]]
    assert output.shape == (1, 2, 2, 3)
    assert (output[..., 1:] == 0).all()


def test_padded_identity_of_equal_shape_is_the_identity():
    inputs = draw((2, 4, 4, 3))
    assert np.array_equal(PaddedIdentity(3)(inputs), inputs)


def test_padded_identity_refuses_to_drop_channels():
    with pytest.raises(ValueError, match="PaddedIdentity has 2 filters, but the input has 3 channels"):
        PaddedIdentity(2).build((1, 4, 4, 3))


def test_sinusoidal_positions_are_the_papers():
    # Width 4: wavelengths 2π and 100 · 2π. Position 3: sin 3, cos 3, sin 0.03, cos 0.03.
    assert_allclose(position_table(4, 4)[0], [0, 1, 0, 1])
    assert_allclose(position_table(4, 4)[3], [0.141120, -0.989992, 0.029996, 0.999550], atol=1e-6)
    inputs = draw((2, 4, 4))
    assert_allclose(SinusoidalPositions()(inputs), inputs + position_table(4, 4), rtol=1e-6)


def test_position_embedding_adds_the_row_of_each_position():
    layer = PositionEmbedding()
    layer.build((None, 2, 3))
    layer.set_weights([np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])])
    assert_allclose(layer(np.full((1, 2, 3), 10.0, "float32")), [[[11, 12, 13], [14, 15, 16]]])


def test_layer_scale_starts_at_its_value_and_scales_by_channel():
    layer = LayerScale(0.5)
    assert np.array(layer(np.array([[2.0, 4.0]], "float32"))).tolist() == [[1.0, 2.0]]
    layer.set_weights([np.array([3.0, -1.0])])
    assert np.array(layer(np.array([[2.0, 4.0]], "float32"))).tolist() == [[6.0, -4.0]]


def test_class_token_comes_first_and_is_the_same_for_every_example():
    layer, inputs = ClassToken(), draw((2, 3, 4))
    layer.build(inputs.shape)
    layer.set_weights([np.arange(4.0).reshape(1, 1, 4)])
    output = np.array(layer(inputs))
    assert output[:, 0].tolist() == [[0, 1, 2, 3]] * 2
    assert np.array_equal(output[:, 1:], inputs)


def test_rbf_output_is_minus_the_squared_distance():
    # On its own code the distance is 0; on the negative of it each of 84 bits is off by 2, 84 × 4 = 336; at 0 it is 84.
    code = target_codes(10)[3]
    outputs = np.array(RBFOutput(10)(np.stack([code, -code, 0 * code])))
    assert_allclose(outputs[:, 3], [0, -336, -84], atol=1e-4)
    assert outputs[0].argmax() == 3


@pytest.mark.parametrize("units", [2, 10, 100])
def test_target_codes_are_signs_and_all_different(units):
    codes = target_codes(units)
    assert codes.shape == (units, 84)
    assert set(np.unique(codes)) == {-1.0, 1.0}
    assert len(np.unique(codes, axis=0)) == units
    assert np.array_equal(codes, target_codes(units))


def test_target_codes_draw_the_digit_one_as_a_stroke():
    one = target_codes(10)[1].reshape(12, 7)
    assert (one[:11, 3:5] == 1).all()  # Columns 3 and 4 are ink from top to base line.
    assert (one[11] == -1).all()


def test_looks_linear_pairs_cancel():
    # Kernels come as +w, -w along inputs and outputs, so neighbouring sums are exactly zero.
    kernel = np.array(LooksLinear()((3, 3, 4, 6)))
    assert kernel.shape == (3, 3, 4, 6)
    assert_allclose(kernel[..., 0::2] + kernel[..., 1::2], 0)
    assert_allclose(kernel[..., 0::2, :] + kernel[..., 1::2, :], 0)


def test_looks_linear_has_the_variance_of_he():
    # fan-in 9 × 64 = 576: variance 2 / 576.
    kernel = np.array(LooksLinear()((3, 3, 64, 128)))
    assert_allclose(kernel.var(), 2 / 576, rtol=0.05)


def test_looks_linear_stack_of_rectifiers_starts_linear():
    relu = {"activation": "relu", "kernel_initializer": LooksLinear()}
    stack = keras.Sequential(
        [keras.layers.Dense(16, activation="relu", kernel_initializer=LooksLinear(mirror_inputs=False))]
        + [keras.layers.Dense(16, **relu) for _ in range(10)]
        + [keras.layers.Dense(6, kernel_initializer=LooksLinear())]
    )
    x, y = draw((5, 8)), draw((5, 8), seed=1)
    assert_allclose(stack(x + 2 * y), stack(x) + 2 * stack(y), rtol=1e-3, atol=1e-4)


def test_looks_linear_draws_anew_and_follows_the_seed():
    keras.utils.set_random_seed(3)
    first, second = (np.array(LooksLinear()((4, 4))) for _ in range(2))
    keras.utils.set_random_seed(3)
    again = np.array(LooksLinear()((4, 4)))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, again)


def test_looks_linear_refuses_an_odd_width():
    with pytest.raises(ValueError, match="odd number"):
        LooksLinear()((3, 3, 4, 5))
