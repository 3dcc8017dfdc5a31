"""A learning rate of its own for each layer, in any of Keras' optimizers."""

from collections.abc import Callable
from functools import cache

import keras
from keras import ops


class _Layerwise:
    """Mixed into the class of an optimizer: every step of a variable is taken at the rate times the variable's factor.

    It is the step that is multiplied, not the gradient, which Adam and RMSprop would divide out again. Weight decay
    belongs to the step: w ← w - rate · factor · decay · w, as Keras does it with factor 1.
    """

    factor_of: Callable[[keras.Variable], float]

    def build(self, variables):
        self._factors = [self.factor_of(variable) for variable in variables]
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate):
        rate = learning_rate * self._factors[self._get_variable_index(variable)]
        if self.weight_decay and self._use_weight_decay(variable):
            self.assign_sub(variable, variable * ops.cast(rate * self.weight_decay, variable.dtype))
        super().update_step(gradient, variable, rate)

    def _apply_weight_decay(self, variables):
        """Nothing here: `update_step` has it, where the factor is known."""


def layerwise(
    optimizer: keras.optimizers.Optimizer, factor_of: Callable[[keras.Variable], float]
) -> keras.optimizers.Optimizer:
    """The same optimizer, with each variable's steps multiplied by a factor of its own.

    Saved, it is the optimizer that it was made from: whoever goes on with it says the factors again.

    Args:
        optimizer: not built yet.
        factor_of: factor by variable; 1 changes nothing.

    Example:
        >>> layerwise(keras.optimizers.Adam(1e-3), lambda variable: 0.1 if "conv1" in variable.path else 1.0)
    """
    made = _class(type(optimizer)).from_config(optimizer.get_config())
    made.factor_of = factor_of
    return made


@cache
def _class(kind: type[keras.optimizers.Optimizer]) -> type[keras.optimizers.Optimizer]:
    return type(kind.__name__, (_Layerwise, kind), {"__module__": kind.__module__})
