"""The deep belief net: its size, its names, its options."""

import keras
import pytest

from kerasnn.models.dbn import dbn

pytestmark = pytest.mark.usefixtures("without_weights")


def test_dbn_has_the_papers_count_in_each_layer():
    # 784 × 500 + 500, 500 × 500 + 500, 500 × 2000 + 2000 and 2000 × 10 + 10: together 1,665,010.
    model = dbn((28, 28, 1), 10)
    counts = [layer.count_params() for layer in model.layers if layer.weights]
    assert counts == [392_500, 250_500, 1_002_000, 20_010]
    assert model.count_params() == 1_665_010


def test_dbn_names_its_layers_after_the_machines():
    names = [layer.name for layer in dbn((8, 8, 1), 10, hidden_widths=(6, 5)).layers if layer.weights]
    assert names == ["rbm1", "rbm2", "predictions"]


def test_dbn_hidden_layers_answer_probabilities():
    layers = dbn((8, 8, 1), 10, hidden_widths=(6, 5)).layers
    assert [layer.activation.__name__ for layer in layers if layer.name.startswith("rbm")] == ["sigmoid"] * 2


@pytest.mark.parametrize("input_shape", [(1,), (7,), (32, 32, 3)])
def test_dbn_takes_any_shape(input_shape):
    assert dbn(input_shape, 4).output_shape == (None, 4)


def test_dbn_without_hidden_layers_is_softmax_regression():
    assert dbn((28, 28, 1), 10, hidden_widths=()).count_params() == 7_850


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_dbn_dropout_follows_each_hidden_layer_and_zero_adds_none(dropout):
    layers = dbn((8, 8, 1), 10, hidden_widths=(6, 5), dropout=dropout).layers
    assert [layer.rate for layer in layers if isinstance(layer, keras.layers.Dropout)] == [0.3] * 2 * bool(dropout)


def test_dbn_logits_stay_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    assert dbn((8, 8, 1), 10).output.dtype == "float32"
