"""Image layers of keras-cv that Keras itself lacks, as stateless ops."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import tensorflow as tf

from kerasnn.errors import ConfigError, suggestion

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
    thread came first. Here each example runs through a layer of its own whose sources of chance (its
    generator and its factor samplers, those of the layers within it too) are replaced by stateless ones. A layer that
    draws elsewhere is refused.

    Args:
        layer: a name in `keras_cv.layers`, such as GridMask (Chen et al. 2020), ChannelShuffle or RandomChannelShift.
        options: the layer's own arguments, but `seed`; pixels run from 0 to 255 there.

    Shapes: `(batch, height, width, channels)` in and out, float32 in [0, 1].

    Raises:
        ConfigError: keras-cv has no such layer, it does not take the options, or it cannot be made stateless.

    Example:
        >>> KerasCVLayer("GridMask", {"ratio_factor": 0.5})(images, seed=tf.constant([0, 1]))
    """

    layer: str
    options: dict = field(default_factory=dict)

    def __post_init__(self):
        object.__setattr__(self, "_layer", self._build())

    def __call__(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Run each picture through the layer; shape and dtype stay, what leaves [0, 1] is cut off."""
        seeds = tf.random.split(seed, tf.shape(images)[0])
        result = tf.map_fn(
            self._function,
            (images * 255.0, seeds),
            fn_output_signature=tf.TensorSpec(images.shape[1:], images.dtype),
        )
        return tf.ensure_shape(tf.clip_by_value(result / 255.0, 0.0, 1.0), images.shape)

    @cached_property
    def _function(self) -> Callable:
        """The layer on one picture: a graph that takes (image, seed) and holds no state."""
        return tf.function(lambda pair: self._augment(*pair), autograph=False)

    def _augment(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        # One trace at a time gets here, and what it left of the layer's sources the next one replaces.
        layer = self._layer
        _replace_sources(layer, _Draws(seed))
        try:
            # keras-cv counts on autograph; around it the errors of this file stay single lines.
            result = tf.function(lambda single: layer(single, training=True))(image)
        except (TypeError, ValueError) as error:
            shape = tuple(image.shape)
            raise ConfigError(
                f"keras-cv layer {self.layer} cannot take pictures of {shape}: {_reason(error)}"
            ) from error
        self._refuse_state(tf.compat.v1.get_default_graph())
        return tf.reshape(tf.cast(result, tf.float32), image.shape)

    def _build(self):
        from keras_cv import layers

        kinds = (layers.BaseImageAugmentationLayer, layers.VectorizedBaseImageAugmentationLayer)
        classes = {name: item for name, item in vars(layers).items() if isinstance(item, type) and item not in kinds}
        known = {name: item for name, item in classes.items() if issubclass(item, kinds)}
        if self.layer not in known:
            raise ConfigError(f"unknown keras-cv layer '{self.layer}': {suggestion(self.layer, known)}")
        # A range in YAML is a list; keras-cv wants a tuple.
        options = {name: tuple(value) if isinstance(value, list) else value for name, value in self.options.items()}
        try:
            # Any seed but 0, which counts as none: the layer would reach for the global generator, which op
            # determinism forbids.
            return known[self.layer](**options | {"seed": 1})
        except (TypeError, ValueError) as error:
            raise ConfigError(f"keras-cv layer {self.layer} does not take {self.options}: {_reason(error)}") from error

    def _refuse_state(self, graph: tf.Graph) -> None:
        definition = graph.as_graph_def()
        nodes = {node.op for node in definition.node}
        for function in definition.library.function:
            nodes |= {node.op for node in function.node_def}
        if drawn := sorted(nodes & STATEFUL):
            raise ConfigError(
                f"keras-cv layer {self.layer} draws outside of its seed ({', '.join(drawn)}), so no run could be "
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
