"""The multilayer perceptron: hidden layers trained by back-propagation.

Rumelhart, Hinton, Williams 1986, Learning representations by back-propagating errors, Nature 323. The paper's units are
sigmoid; tanh and relu are what came after. The default widths are the larger two-hidden-layer network of LeCun et al.
1998 (28×28-300-100-10, section III.C.4), since the paper of 1986 has no picture task of today's kind.

Input any shape → `(num_classes,)` logits; smallest input: one number.
Count: 266,610 for 28×28, 300, 100 and 10 classes, added up by hand: 235,500 + 30,100 + 1,010.
"""

from typing import Literal

import keras
from keras import initializers, layers

from kerasnn.models import heads
from kerasnn.ranges import Fraction, Positive

Activation = Literal["relu", "tanh", "sigmoid"]

# Each keeps the signal's variance through its layer; a sigmoid's slope at 0 is 1/4, so its kernel starts 4 times
# wider than tanh's (Glorot & Bengio 2010, section 4.2.1), and 16 times in variance.
INITIALIZER = {
    "relu": initializers.HeNormal,
    "tanh": initializers.GlorotNormal,
    "sigmoid": lambda: initializers.VarianceScaling(scale=16.0, mode="fan_avg", distribution="truncated_normal"),
}


def mlp(
    input_shape: tuple[int, ...],
    num_classes: int,
    hidden_widths: tuple[Positive, ...] = (300, 100),
    activation: Activation = "relu",
    dropout: Fraction = 0.0,
) -> keras.Model:
    """A multilayer perceptron: `input_shape` → `(num_classes,)` logits.

    Args:
        input_shape: shape of one example; it is flattened.
        num_classes: number of classes.
        hidden_widths: units of each hidden layer, first to last; empty gives softmax regression.
        activation: of the hidden units.
        dropout: share of each hidden layer that is dropped in training.

    Example:
        >>> mlp((28, 28, 1), 10, hidden_widths=(300, 100)).count_params()
        266610
    """
    inputs = keras.Input(tuple(input_shape))
    x = layers.Flatten(name="flatten")(inputs)
    for number, width in enumerate(hidden_widths, start=1):
        kernel = INITIALIZER[activation]()
        x = layers.Dense(width, activation=activation, kernel_initializer=kernel, name=f"hidden{number}")(x)
        if dropout:
            x = layers.Dropout(dropout, name=f"dropout{number}")(x)
    return keras.Model(inputs, heads.logits(x, num_classes), name="mlp")
