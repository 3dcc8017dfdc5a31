"""What a network costs: parameters, arithmetic, size, latency and memory.

Convention: one multiply–add (MAC) is 2 FLOPs. Counted are the multiply–adds of convolutions, dense layers, attention
(projections, scores and weighted sums) and layers that declare theirs by a method `macs(input_shape, output_shape)`,
per example, forward. Not counted are biases, activations, pooling and normalization, as in the usual tables (VGG16 at
224×224: 15.47 GMACs). A layer with weights, or a product of two tensors, that fits none of these is listed in
`Cost.uncounted`, never passed over in silence.

The static numbers are read off the functional graph and need no allocated weight; latency and memory are measured.
"""

import math
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import keras
from keras import layers

from kerasnn.errors import ModelError
from kerasnn.ranges import Count, Positive

# Layers with weights whose arithmetic the convention leaves out, and look-ups, which multiply nothing.
FREE = (
    layers.BatchNormalization,
    layers.LayerNormalization,
    layers.GroupNormalization,
    layers.RMSNormalization,
    layers.UnitNormalization,
    layers.Normalization,
    layers.PReLU,
    layers.Embedding,
)
TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.DepthwiseConv1D, layers.DepthwiseConv2D)
SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
PRODUCTS = ("Matmul", "Dot", "Einsum", "Tensordot")  # Operations of keras.ops that multiply and have no layer.


@dataclass(frozen=True)
class LayerCost:
    """One call of one layer. `macs` is None where it multiplies by no known rule.

    A layer that is called twice has two rows; its parameters stand in the first, as do those that layers share.
    """

    name: str
    kind: str
    output_shape: tuple[int | None, ...]
    params: int
    macs: int | None


@dataclass(frozen=True)
class Cost:
    """The static cost of a network.

    Args:
        params_total: all weights, batch-norm statistics included.
        params_trainable: those that training changes.
        macs: multiply–adds per example.
        weights_mb: size of all weights in their own precision, in 10^6 bytes.
        uncounted: layers with weights whose arithmetic is unknown; `macs` is then a lower bound.
    """

    params_total: int
    params_trainable: int
    macs: int
    weights_mb: float
    uncounted: tuple[str, ...] = ()

    @property
    def flops(self) -> int:
        """Floating-point operations per example: two per multiply–add."""
        return 2 * self.macs


def count(model: keras.Model) -> Cost:
    """Count `model`, which must be functional (or sequential) and need not have allocated weights.

    Raises:
        ModelError: the model is no graph of layers, or a size in it is unknown.

    Example:
        >>> count(lenet5((32, 32, 1), 10))
        Cost(params_total=61706, params_trainable=61706, macs=416520, weights_mb=0.246824, uncounted=())
    """
    rows = layer_table(model)
    return Cost(
        params_total=_parameters(model.weights),
        params_trainable=_parameters(model.trainable_weights),
        macs=sum(row.macs or 0 for row in rows),
        weights_mb=_megabytes(model.weights),
        uncounted=tuple(row.name for row in rows if row.macs is None),
    )


def layer_table(model: keras.Model) -> list[LayerCost]:
    """One row per call of a layer, in order of computation; layers of nested models as "outer/inner".

    Raises:
        ModelError: the model is no graph of layers, or a size in it is unknown.
    """
    rows, seen = [], set()
    for path, layer, inputs, output in _calls(model):
        weights = getattr(layer, "weights", ())  # A product of tensors is an operation without any.
        new = [weight for weight in weights if id(weight) not in seen]  # Tied weights stand where they come first.
        seen.update(map(id, new))
        rows.append(LayerCost(path, type(layer).__name__, output, _parameters(new), _macs(path, layer, inputs, output)))
    return rows


def layer_text(model: keras.Model) -> str:
    """The layer table as aligned text, with the totals below: what a run folder keeps as its summary."""
    head = ("layer", "kind", "output", "parameters", "multiply–adds")
    lines = [head] + [
        (
            row.name,
            row.kind,
            _shape_text(row.output_shape),
            f"{row.params:,}",
            "unknown" if row.macs is None else f"{row.macs:,}",
        )
        for row in layer_table(model)
    ]
    total = count(model)
    lines.append(("total", "", "", f"{total.params_total:,}", f"{total.macs:,}"))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(
            cell.ljust(width) if place < 3 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    return (
        "\n".join(
            [f"{model.name}: {total.params_trainable:,} trainable parameters", "", *(line.rstrip() for line in text)]
        )
        + "\n"
    )


def _shape_text(shape: tuple) -> str:
    """(None, 28, 28, 6) as 28×28×6: the batch is left out."""
    return "×".join("?" if size is None else str(size) for size in shape[1:])


def _calls(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, keras.Operation, list[tuple], tuple]]:
    """Every call of a layer or product in the graph: path, layer, shapes of its inputs, shape of its (first) output."""
    graph = getattr(model, "_functional", None) or model  # A Sequential keeps its graph inside.
    if not hasattr(graph, "_nodes_by_depth"):
        raise ModelError(f"model '{model.name}' is no functional graph, so its arithmetic cannot be counted")
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            layer = node.operation
            if node.is_input or not (isinstance(layer, keras.Layer) or type(layer).__name__ in PRODUCTS):
                continue
            path = prefix + layer.name
            inputs, output = [tuple(tensor.shape) for tensor in node.input_tensors], tuple(node.outputs[0].shape)
            if isinstance(layer, keras.Model):
                if tuple(layer.inputs[0].shape) != inputs[0]:
                    raise ModelError(
                        f"model '{path}' was built for {tuple(layer.inputs[0].shape)} and is called on {inputs[0]}: "
                        "build it for that shape to count its arithmetic"
                    )
                yield from _calls(layer, prefix=f"{path}/")
            else:
                yield path, layer, inputs, output


def _macs(path: str, layer: keras.Operation, inputs: list[tuple], output: tuple) -> int | None:
    """Multiply–adds of one call; None where it multiplies and no rule says how often."""
    declared = getattr(layer, "macs", None)
    counted = (layers.Dense, layers.MultiHeadAttention, *CONVOLUTIONS, *TRANSPOSED, *SEPARABLE)
    if declared is None and not isinstance(layer, counted):
        free = isinstance(layer, FREE) or (isinstance(layer, keras.Layer) and not layer.weights)
        return 0 if free else None
    if None in inputs[0][1:] or None in output[1:]:
        raise ModelError(f"layer '{path}' maps {inputs[0]} to {output}: give every size to count its arithmetic")
    if declared is not None:
        return int(declared(inputs[0], output))
    if isinstance(layer, layers.Dense):
        return math.prod(inputs[0][1:-1]) * math.prod(layer.kernel.shape)
    if isinstance(layer, layers.MultiHeadAttention):
        return _attention(layer, inputs)
    if isinstance(layer, SEPARABLE):
        kernels = math.prod(layer.depthwise_kernel.shape) + math.prod(layer.pointwise_kernel.shape)
        return _places(layer, output) * kernels
    # A transposed convolution spreads each input place over the output; a plain one gathers each output place.
    return _places(layer, inputs[0] if isinstance(layer, TRANSPOSED) else output) * math.prod(layer.kernel.shape)


def _attention(layer: layers.MultiHeadAttention, inputs: list[tuple]) -> int:
    """Projections, scores and weighted sums, every pair of positions counted: a mask saves no arithmetic here."""
    (_, queries, width), (_, keys, key_width) = inputs[0], inputs[1] if len(inputs) > 1 else inputs[0]
    heads, key_dim, value_dim = layer.num_heads, layer.key_dim, layer.value_dim
    projections = queries * heads * (key_dim * width + value_dim * layer.output_dense.kernel.shape[-1])
    projections += keys * heads * (key_dim + value_dim) * key_width
    return projections + heads * queries * keys * (key_dim + value_dim)


def _places(layer: keras.Layer, shape: tuple) -> int:
    """How many positions a feature map of `shape` has."""
    return math.prod(shape[2:] if layer.data_format == "channels_first" else shape[1:-1])


def _parameters(weights) -> int:
    """How many numbers the weights hold."""
    return sum(math.prod(weight.shape) for weight in weights)


def _megabytes(weights) -> float:
    """Their size in 10^6 bytes."""
    return sum(math.prod(weight.shape) * _bytes(weight.dtype) for weight in weights) / 1e6


def _bytes(dtype: str) -> int:
    """Bytes of one number, read off the digits of its name: float32 → 4, bfloat16 → 2, bool → 1."""
    return int("".join(filter(str.isdigit, dtype)) or 8) // 8


def measure_latency(model: keras.Model, repeats: Positive = 30, warm_up: Count = 5) -> float:
    """Median milliseconds of one prediction of one example, after `warm_up` predictions that are not counted.

    Compiled as a graph without XLA, like evaluation on this machine's default; the answer is fetched each time, so
    that work still queued on a GPU is counted.
    """
    import tensorflow as tf

    inputs = [tf.ones((1, *tensor.shape[1:]), tensor.dtype) for tensor in model.inputs]
    predict = tf.function(lambda values: model(values, training=False), autograph=False, jit_compile=False)
    values = inputs[0] if len(inputs) == 1 else inputs
    seconds = []
    for _ in range(warm_up + repeats):
        start = time.perf_counter()
        for output in keras.tree.flatten(predict(values)):
            output.numpy()
        seconds.append(time.perf_counter() - start)
    return 1000 * median(seconds[warm_up:])


def reset_peak_memory() -> None:
    """Lets `peak_memory_mb` count anew from what is in use now: a process may run a small network after a large one.

    Call it once the devices are configured. On a GPU TensorFlow's counter is reset, on Linux the kernel's (proc(5),
    `clear_refs`). Elsewhere, and where /proc refuses, there is nothing to reset: the peak of a process without a GPU
    is then that of its whole life.
    """
    import tensorflow as tf

    for gpu in tf.config.list_logical_devices("GPU"):
        tf.config.experimental.reset_memory_stats(gpu.name)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb() -> float:
    """The most memory used since `reset_peak_memory`, in 10^6 bytes: of the fullest GPU, or resident of this process.

    What a process without a GPU has kept from before, such as the libraries' code, is part of its number.
    """
    import tensorflow as tf

    gpus = tf.config.list_logical_devices("GPU")
    if gpus:
        return max(tf.config.experimental.get_memory_info(gpu.name)["peak"] for gpu in gpus) / 1e6
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):  # Unlike ru_maxrss, it can be reset.
                return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS, in KiB on Linux.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
