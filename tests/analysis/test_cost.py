"""Costs against hand counts: multiply–adds of a convolution are places × kernel × maps in × maps out."""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from kerasnn.analysis.cost import count, layer_table, layer_text, measure_latency, peak_memory_mb, reset_peak_memory
from kerasnn.errors import ModelError
from kerasnn.models.catalogue import CATALOGUE
from kerasnn.models.mlp import mlp
from kerasnn.models.perceptron import perceptron


def published(name):
    with keras.StatelessScope(initialize_variables=False):
        return CATALOGUE[name].build()


def test_cost_of_lenet5_is_the_hand_count():
    c1 = 28 * 28 * 25 * 1 * 6  # 117,600
    c3 = 10 * 10 * 25 * 6 * 16  # 240,000
    c5 = 1 * 1 * 25 * 16 * 120  # 48,000
    dense = 120 * 84 + 84 * 10  # 10,920
    cost = count(published("lenet5"))
    assert cost.macs == c1 + c3 + c5 + dense == 416_520
    assert cost.flops == 833_040
    assert cost.params_total == cost.params_trainable == 61_706
    assert cost.weights_mb == pytest.approx(61_706 * 4 / 1e6)
    assert cost.uncounted == ()


def test_cost_of_lenet5_1998_counts_its_own_layers():
    c1 = 28 * 28 * 25 * 1 * 6  # 117,600
    s2 = 14 * 14 * 6  # 1,176, one per output
    c3 = 10 * 10 * 25 * 60  # 150,000, sixty connections instead of 96
    s4 = 5 * 5 * 16  # 400
    c5 = 25 * 16 * 120  # 48,000
    f6 = 120 * 84  # 10,080
    output = 84 * 10  # 840
    cost = count(published("lenet5_1998"))
    assert cost.macs == c1 + s2 + c3 + s4 + c5 + f6 + output == 328_096
    assert cost.params_total == 60_000


def test_cost_of_alexnet_is_the_hand_count():
    convolutions = (
        55 * 55 * 11 * 11 * 3 * 96  # 105,415,200
        + 27 * 27 * 5 * 5 * 48 * 256  # 223,948,800: each tower sees its own 48 maps
        + 13 * 13 * 3 * 3 * 256 * 384  # 149,520,384
        + 13 * 13 * 3 * 3 * 192 * 384  # 112,140,288
        + 13 * 13 * 3 * 3 * 192 * 256  # 74,760,192
    )
    dense = 6 * 6 * 256 * 4096 + 4096 * 4096 + 4096 * 1000  # 58,621,952
    assert count(published("alexnet")).macs == convolutions + dense == 724_406_816


def test_cost_of_vgg16_is_15_47_gmacs():
    convolutions = 9 * (
        224 * 224 * (3 * 64 + 64 * 64)
        + 112 * 112 * (64 * 128 + 128 * 128)
        + 56 * 56 * (128 * 256 + 2 * 256 * 256)
        + 28 * 28 * (256 * 512 + 2 * 512 * 512)
        + 14 * 14 * 3 * 512 * 512
    )
    dense = 7 * 7 * 512 * 4096 + 4096 * 4096 + 4096 * 1000
    assert count(published("vgg16")).macs == convolutions + dense == 15_470_264_320


def test_cost_of_batch_norm_is_parameters_only():
    plain, normed = count(published("vgg11")), count(published("vgg11_bn"))
    assert normed.macs == plain.macs
    # vgg11 has 64 + 128 + 2 × 256 + 4 × 512 = 2,752 filters: two trainable and two other numbers for each.
    assert normed.params_trainable - plain.params_trainable == 2 * 2752
    assert normed.params_total - plain.params_total == 4 * 2752


@pytest.mark.parametrize(
    ("layer", "input_shape", "macs"),
    [
        (layers.Conv2D(4, 3, strides=2), (9, 9, 2), 4 * 4 * 9 * 2 * 4),
        (layers.Conv2D(4, 3, groups=2), (5, 5, 6), 3 * 3 * 9 * 3 * 4),
        (layers.Conv2D(4, 3, dilation_rate=2, padding="same"), (8, 8, 1), 8 * 8 * 9 * 4),
        (layers.Conv1D(5, 3), (10, 2), 8 * 3 * 2 * 5),
        (layers.DepthwiseConv2D(3), (5, 5, 6), 3 * 3 * 9 * 6),
        (layers.SeparableConv2D(8, 3), (5, 5, 6), 3 * 3 * (9 * 6 + 6 * 8)),
        (layers.Conv2DTranspose(4, 3, strides=2), (5, 5, 2), 5 * 5 * 9 * 2 * 4),
        (layers.Dense(7), (3,), 21),
        (layers.Dense(7), (5, 3), 5 * 21),
        (layers.BatchNormalization(), (5, 5, 3), 0),
        (layers.MaxPooling2D(), (4, 4, 3), 0),
    ],
)
def test_cost_of_one_layer_is_the_hand_count(layer, input_shape, macs):
    inputs = keras.Input(input_shape)
    assert count(keras.Model(inputs, layer(inputs))).macs == macs


def test_cost_of_self_attention_is_the_hand_count():
    inputs = keras.Input((5, 8))
    model = keras.Model(inputs, layers.MultiHeadAttention(num_heads=2, key_dim=3, value_dim=4)(inputs, inputs))
    queries = keys = 5 * 8 * (2 * 3)  # Five positions, eight numbers into two heads of three: 240 each.
    values = out = 5 * 8 * (2 * 4)  # 320 each.
    scores, sums = 2 * 5 * 5 * 3, 2 * 5 * 5 * 4  # Each head compares and adds up all 25 pairs: 150 and 200.
    assert count(model).macs == queries + keys + values + out + scores + sums == 1_470


def test_cost_of_cross_attention_counts_both_lengths():
    target, source = keras.Input((2, 8)), keras.Input((5, 6))
    model = keras.Model([target, source], layers.MultiHeadAttention(num_heads=1, key_dim=4)(target, source))
    projections = 2 * 8 * 4 + 2 * (5 * 6 * 4) + 2 * 4 * 8  # Queries; keys and values; the way out.
    assert count(model).macs == projections + 2 * (2 * 5 * 4)


def test_cost_names_a_product_that_no_layer_answers_for():
    inputs = keras.Input((5, 3))
    product = keras.ops.matmul(inputs, keras.ops.transpose(inputs, (0, 2, 1)))
    (name,) = count(keras.Model(inputs, layers.Dense(2)(product))).uncounted
    assert "matmul" in name


def test_cost_counts_a_shared_layer_per_call_and_its_weights_once():
    shared = layers.Dense(4, use_bias=False, name="shared")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, shared(shared(inputs)))
    assert (count(model).macs, count(model).params_total) == (32, 16)
    assert [(row.name, row.params, row.macs) for row in layer_table(model)] == [("shared", 16, 16), ("shared", 0, 16)]


def test_cost_looks_into_nested_models():
    inner = mlp((4,), 3, hidden_widths=(5,))
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(2, name="outer")(inner(inputs)))
    assert count(model).macs == 4 * 5 + 5 * 3 + 3 * 2
    assert [row.name for row in layer_table(model) if row.macs] == ["mlp/hidden1", "mlp/predictions", "outer"]


def test_cost_of_a_sequential_model():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(2)])
    assert count(model).macs == 12 + 6


def test_cost_names_what_it_cannot_count():
    inputs = keras.Input((5, 3))
    model = keras.Model(inputs, layers.LSTM(2, name="memory")(inputs))
    cost = count(model)
    assert (cost.macs, cost.uncounted) == (0, ("memory",))
    assert layer_table(model)[-1].macs is None


def test_cost_of_an_unknown_size_is_an_error():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, layers.Conv2D(4, 3, name="conv")(inputs))
    with pytest.raises(ModelError, match=r"layer 'conv' maps .* give every size"):
        count(model)


def test_cost_of_a_subclassed_model_is_an_error():
    class Opaque(keras.Model):
        pass

    with pytest.raises(ModelError, match="no functional graph"):
        count(Opaque(name="opaque"))


def test_layer_table_rows_say_what_each_layer_is():
    rows = {row.name: row for row in layer_table(published("lenet5"))}
    assert (rows["c3"].kind, rows["c3"].output_shape, rows["c3"].params) == ("Conv2D", (None, 10, 10, 16), 2416)
    assert (rows["s2"].kind, rows["s2"].params, rows["s2"].macs) == ("AveragePooling2D", 0, 0)


def test_layer_text_lists_layers_and_totals():
    text = layer_text(published("lenet5"))
    lines = text.splitlines()
    assert lines[0] == "lenet5: 61,706 trainable parameters"
    assert next(line.split() for line in lines if line.startswith("c3")) == [
        "c3",
        "Conv2D",
        "10×10×16",
        "2,416",
        "240,000",
    ]
    assert lines[-1].split() == ["total", "61,706", "416,520"]


def test_latency_is_positive():
    assert measure_latency(perceptron((8, 8, 1), 10), repeats=3, warm_up=1) > 0


@pytest.mark.skipif(sys.platform != "linux" or not Path("/proc/self/clear_refs").exists(), reason="no peak to reset")
def test_peak_memory_of_a_small_thing_after_a_big_one_is_its_own():
    """200 MB are filled and let go: the peak rises by them, outlives them, and falls when it is reset."""
    reset_peak_memory()
    before = peak_memory_mb()
    big = np.ones(25_000_000, "float64")
    filled = peak_memory_mb()
    del big
    assert filled - before > 180
    assert peak_memory_mb() > filled - 5  # The kernel counts per processor and adds up now and then.
    reset_peak_memory()
    assert filled - peak_memory_mb() > 180


def test_peak_memory_is_of_this_process_where_nothing_can_be_reset(monkeypatch):
    def refuse(*_, **__):
        raise PermissionError("no /proc here")

    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(Path, "write_text", refuse)
    reset_peak_memory()
    assert 50 < peak_memory_mb() < 100_000  # TensorFlow alone takes hundreds; a wrong unit would be off by a thousand.
