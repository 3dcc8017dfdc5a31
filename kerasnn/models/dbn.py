"""The deep belief net as a classifier: sigmoid layers that were restricted Boltzmann machines before.

Hinton, Osindero, Teh 2006, A Fast Learning Algorithm for Deep Belief Nets, Neural Computation 18(7), brought the greedy
training, machine upon machine; Hinton, Salakhutdinov 2006, Reducing the Dimensionality of Data with Neural Networks,
Science 313, supporting material, the network that is built here: 784-500-500-2000-10, trained on by back-propagation.

The network alone is a multilayer perceptron. What makes it a deep belief net is
`kerasnn.training.pretrain.contrastive_divergence`, which fills `rbm1`, `rbm2`, … before the first label is seen.

Input any shape → `(num_classes,)` logits; smallest input: one number.

Deviations: the first paper's top machine also sees the labels, and the whole is tuned by its up-down algorithm (1.25 %
errors on MNIST); the second's classifier, which this is, is tuned by conjugate gradients (1.2 %), here by whatever
optimizer the run says. Kernels that no pre-training fills start as a sigmoid's should (Glorot & Bengio 2010).

Count: 1,665,010 for 28×28, 500, 500, 2000 and 10 classes, with biases, as a classifier: 392,500 + 250,500 + 1,002,000 +
20,010. The machines' visible biases are no part of it.
"""

import keras
from keras import initializers, layers

from kerasnn.models import heads
from kerasnn.ranges import Fraction, Positive


def dbn(
    input_shape: tuple[int, ...],
    num_classes: int,
    hidden_widths: tuple[Positive, ...] = (500, 500, 2000),
    dropout: Fraction = 0.0,
) -> keras.Model:
    """A deep belief net: `input_shape` → `(num_classes,)` logits.

    Args:
        input_shape: shape of one example; it is flattened.
        num_classes: number of classes.
        hidden_widths: units of `rbm1`, `rbm2`, …, first to last.
        dropout: share of each hidden layer that is dropped in training; the papers have none.

    Example:
        >>> dbn((28, 28, 1), 10).count_params()
        1665010
    """
    inputs = keras.Input(tuple(input_shape))
    x = layers.Flatten(name="flatten")(inputs)
    for number, width in enumerate(hidden_widths, start=1):
        # A sigmoid's slope at 0 is 1/4: the variance that keeps a signal is 16 times Glorot's.
        kernel = initializers.VarianceScaling(scale=16.0, mode="fan_avg", distribution="truncated_normal")
        x = layers.Dense(width, activation="sigmoid", kernel_initializer=kernel, name=f"rbm{number}")(x)
        if dropout:
            x = layers.Dropout(dropout, name=f"dropout{number}")(x)
    return keras.Model(inputs, heads.logits(x, num_classes), name="dbn")
