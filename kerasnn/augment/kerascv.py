"""Image layers of keras-cv that Keras itself lacks, as stateless ops, on single pictures or on a batch with labels."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import tensorflow as tf

from kerasnn.augment.chance import happens
from kerasnn.augment.mix import Batch, Mix
from kerasnn.errors import ConfigError, suggestion
from kerasnn.ranges import Probability

# What draws from TensorFlow's own state: a layer that still does so after its sources were replaced is refused.
STATEFUL = {
    "RandomUniform",
    "RandomUniformInt",
    "RandomStandardNormal",
    "TruncatedNormal",
    "RandomShuffle",
    "RandomGamma",
    "RandomPoissonV2",
    "Multinomial",
    "RngReadAndSkip",
    "RngSkip",
    "StatefulUniform",
    "StatefulUniformInt",
    "StatefulUniformFullInt",
    "StatefulStandardNormalV2",
    "StatefulTruncatedNormal",
    "StatefulRandomBinomial",
}


@dataclass(frozen=True, eq=False)
class KerasCVLayer:
    """Run an image layer of keras-cv so that equal seeds give equal pixels.

    keras-cv draws from `tf.random.Generator` and `tf.random.uniform`, whose state makes the pixels depend on which
    thread came first. Here its sources of chance (its generator and its factor samplers, those of the layers within it
    too) are replaced by stateless ones. A layer that draws for a whole batch at once gets one; any other is traced for
    a single picture, with a seed of its own, and is slow. A layer that draws elsewhere is refused.

    Args:
        layer: a name in `keras_cv.layers`, such as GridMask (Chen et al. 2020), ChannelShuffle or RandomChannelShift.
        options: the layer's own arguments, but `seed`; pixels run from 0 to 255 there.
        probability: of passing through the layer, drawn for each example.

    Shapes: `(batch, height, width, channels)` in and out, float32 in [0, 1].

    Raises:
        ConfigError: keras-cv has no such layer, it does not take the options, or it cannot be made stateless.

    Example:
        >>> KerasCVLayer("GridMask", {"ratio_factor": 0.5})(images, seed=tf.constant([0, 1]))
    """

    layer: str
    options: dict = field(default_factory=dict)
    probability: Probability = 1.0

    def __post_init__(self):
        object.__setattr__(self, "_layer", _build(self.layer, self.options))

    def __call__(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Run each picture through the layer; shape and dtype stay, what leaves [0, 1] is cut off."""
        batch = tf.shape(images)[0]
        chosen = tf.reshape(tf.where(happens(batch, self.probability, tf.random.fold_in(seed, 0))), [-1])
        some = tf.gather(images, chosen) * 255.0
        if _takes_batches(self._layer):
            result = self._function((some, seed))
        else:
            seeds = tf.gather(tf.random.split(seed, batch), chosen)
            spec = tf.TensorSpec(images.shape[1:], images.dtype)
            result = tf.map_fn(self._function, (some, seeds), fn_output_signature=spec)
        result = tf.clip_by_value(result / 255.0, 0.0, 1.0)
        return tf.ensure_shape(tf.tensor_scatter_nd_update(images, chosen[:, None], result), images.shape)

    @cached_property
    def _function(self) -> Callable:
        """The layer on a picture, or a batch of them: a graph that takes (pixels, seed) and holds no state."""
        return tf.function(lambda pair: self._augment(*pair), autograph=False)

    def _augment(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        # One trace at a time gets here, and what it left of the layer's sources the next one replaces.
        layer = self._layer
        _replace_sources(layer, _Draws(seed))
        try:
            # keras-cv counts on autograph; around it the errors of this file stay single lines.
            result = tf.function(lambda single: layer(single, training=True))(image)
        except (TypeError, ValueError) as error:
            shape = tuple(image.shape[-3:])
            raise ConfigError(
                f"keras-cv layer {self.layer} cannot take pictures of {shape}: {_reason(error)}"
            ) from error
        _refuse_state(self.layer, tf.compat.v1.get_default_graph())
        return tf.reshape(tf.cast(result, tf.float32), tf.shape(image))


@dataclass(frozen=True, eq=False)
class KerasCVMix(Mix):
    """Run a layer of keras-cv that mixes a batch and its labels, such as Mosaic (Bochkovskiy et al. 2020).

    Mosaic puts four pictures into a grid and cuts a window of one picture's size about the point where they meet; the
    label counts the area of each; `mix.Mosaic` does the same between whole pixels, and faster.
    Layers that draw outside of their sources, such as keras-cv's MixUp, CutMix and FourierMix, are refused: `mix.py`
    has these.

    Args:
        layer: a name in `keras_cv.layers`.
        options: the layer's own arguments, but `seed`.
        until: the share of the epochs after which mixing stops; 1 never stops.

    Shapes: images `(batch, height, width, channels)` and shares `(batch, classes)`, in and out.

    Raises:
        ConfigError: keras-cv has no such layer, it does not take the options, it mixes no labels, or it cannot be made
            stateless.

    Example:
        >>> images, shares = KerasCVMix("Mosaic")(images, shares, seed=tf.constant([0, 1]))
    """

    layer: str
    options: dict = field(default_factory=dict)
    until: Probability = 0.9

    def __post_init__(self):
        object.__setattr__(self, "_layer", _build(self.layer, self.options))

    def __call__(self, images: tf.Tensor, shares: tf.Tensor, seed: tf.Tensor) -> Batch:
        """Mix a batch; shapes, dtypes, range and sums stay."""
        mixed, labels = self._function(images, shares, seed)
        mixed = tf.clip_by_value(tf.reshape(mixed, tf.shape(images)) / 255.0, 0.0, 1.0)
        return tf.ensure_shape(mixed, images.shape), tf.ensure_shape(labels, shares.shape)

    @cached_property
    def _function(self) -> Callable:
        """The layer on a batch: a graph that takes (images, shares, seed) and holds no state."""
        return tf.function(self._augment, autograph=False)

    def _augment(self, images: tf.Tensor, shares: tf.Tensor, seed: tf.Tensor) -> Batch:
        layer = self._layer
        _replace_sources(layer, _Draws(seed))
        run = tf.function(lambda images, labels: layer({"images": images, "labels": labels}, training=True))
        try:
            result = run(images * 255.0, shares)
        except (TypeError, ValueError, NotImplementedError) as error:
            raise ConfigError(
                f"keras-cv layer {self.layer} cannot mix pictures and labels: {_reason(error)}"
            ) from error
        _refuse_state(self.layer, tf.compat.v1.get_default_graph())
        return tf.cast(result["images"], tf.float32), tf.cast(result["labels"], tf.float32)


def _build(name: str, options: dict):
    """The layer of this name, before its sources of chance are replaced."""
    from keras_cv import layers

    kinds = (layers.BaseImageAugmentationLayer, layers.VectorizedBaseImageAugmentationLayer)
    classes = {name: item for name, item in vars(layers).items() if isinstance(item, type) and item not in kinds}
    known = {name: item for name, item in classes.items() if issubclass(item, kinds)}
    if name not in known:
        raise ConfigError(f"unknown keras-cv layer '{name}': {suggestion(name, known)}")
    # A range in YAML is a list; keras-cv wants a tuple.
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    try:
        # Any seed but 0, which counts as none: the layer would reach for the global generator, which op
        # determinism forbids.
        return known[name](**arguments | {"seed": 1})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"keras-cv layer {name} does not take {options}: {_reason(error)}") from error


def _takes_batches(layer) -> bool:
    """Whether a layer draws for a batch, not in a loop over pictures, where a stateless draw would repeat itself."""
    from keras_cv.layers import VectorizedBaseImageAugmentationLayer

    return isinstance(layer, VectorizedBaseImageAugmentationLayer)


def _refuse_state(name: str, graph: tf.Graph) -> None:
    definition = graph.as_graph_def()
    nodes = {node.op for node in definition.node}
    for function in definition.library.function:
        nodes |= {node.op for node in function.node_def}
    if drawn := sorted(nodes & STATEFUL):
        raise ConfigError(
            f"keras-cv layer {name} draws outside of its seed ({', '.join(drawn)}), so no run could be "
            "repeated; allowed are layers such as GridMask, ChannelShuffle and RandomChannelShift"
        )


class _Draws:
    """Stands in for `tf.random.Generator`: the n-th draw of a traced graph uses the seed folded with n."""

    def __init__(self, seed: tf.Tensor):
        self._seed = seed
        self._drawn = 0

    def _next(self) -> tf.Tensor:
        self._drawn += 1
        return tf.random.fold_in(self._seed, self._drawn)

    def uniform(self, shape, minval=0, maxval=None, dtype=tf.float32, name=None) -> tf.Tensor:
        maxval = 1 if maxval is None and tf.as_dtype(dtype).is_floating else maxval
        return tf.random.stateless_uniform(shape, self._next(), minval, maxval, dtype, name=name)

    def normal(self, shape, mean=0.0, stddev=1.0, dtype=tf.float32, name=None) -> tf.Tensor:
        return tf.random.stateless_normal(shape, self._next(), mean, stddev, dtype, name=name)

    def truncated_normal(self, shape, mean=0.0, stddev=1.0, dtype=tf.float32, name=None) -> tf.Tensor:
        return tf.random.stateless_truncated_normal(shape, self._next(), mean, stddev, dtype, name=name)


def _reason(error: Exception) -> str:
    """What a layer complained of, out of the pages that Keras (which prints it in bold) and autograph put around it."""
    bold = re.search("\x1b\\[1m(.*?)\x1b\\[0m", str(error), re.DOTALL)
    text = bold[1] if bold else [line for line in str(error).splitlines() if line.strip()][-1]
    return " ".join(text.split())


def _replace_sources(layer, draws: _Draws) -> None:
    """Let a keras-cv layer, its samplers and the layers within it draw from `draws`."""
    import keras
    from keras_cv import core

    for name, value in list(vars(layer).items()):
        # Past Keras' own __setattr__, which would track what it is given.
        if name == "_random_generator":
            object.__setattr__(layer, name, draws)
        elif isinstance(value, core.UniformFactorSampler | core.NormalFactorSampler):
            object.__setattr__(layer, name, _Sampler(value, draws))
        elif isinstance(value, _Sampler):
            object.__setattr__(layer, name, _Sampler(value.sampler, draws))
        else:
            for inner in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(inner, keras.layers.Layer):
                    _replace_sources(inner, draws)


class _Sampler:
    """Stands in for a factor sampler of keras-cv, with the same distribution."""

    def __init__(self, sampler, draws: _Draws):
        self.sampler = sampler
        self._draws = draws

    def __call__(self, shape=(), dtype="float32") -> tf.Tensor:
        drawn, dtype = self.sampler, tf.as_dtype(dtype)
        if hasattr(drawn, "lower"):
            return self._draws.uniform(shape, drawn.lower, drawn.upper, dtype)
        factors = self._draws.truncated_normal(shape, drawn.mean, drawn.stddev, dtype)
        return tf.clip_by_value(factors, drawn.min_value, drawn.max_value)
