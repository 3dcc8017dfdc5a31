"""Radial basis function output with fixed targets: the last layer of LeNet-5."""

import keras
import numpy as np
from keras import ops

from kerasnn.ranges import Positive

BITS = 84  # 7 × 12: the paper's size of a stylised character.

# Ink is #. Drawn after figure 3 of the paper, twelve rows of seven pixels for each digit.
DIGITS = """
..###..  ...##..  .#####.  .#####.  ....##.  #######  ..####.  #######  .#####.  .#####.
.#...#.  ..###..  ##...##  ##...##  ...###.  ##.....  .##....  ##...##  ##...##  ##...##
##...##  .####..  ##...##  .....##  ..####.  ##.....  ##.....  .....##  ##...##  ##...##
##...##  ...##..  .....##  .....##  .##.##.  ##.....  ##.....  ....##.  ##...##  ##...##
##...##  ...##..  ....##.  ....##.  ##..##.  ######.  ######.  ....##.  .##.##.  ##...##
##...##  ...##..  ...##..  ..####.  ##..##.  .....##  ##...##  ...##..  ..###..  .######
##...##  ...##..  ..##...  .....##  #######  .....##  ##...##  ...##..  .##.##.  .....##
##...##  ...##..  .##....  .....##  ....##.  .....##  ##...##  ..##...  ##...##  .....##
##...##  ...##..  ##.....  .....##  ....##.  .....##  ##...##  ..##...  ##...##  .....##
.#...#.  ...##..  ##.....  ##...##  ....##.  ##...##  ##...##  .##....  ##...##  ....##.
..###..  .######  #######  .#####.  ....##.  .#####.  .#####.  .##....  .#####.  .####..
.......  .......  .......  .......  .......  .......  .......  .......  .......  .......
"""


def target_codes(units: int) -> np.ndarray:
    """The fixed ±1 target of each class, `(units, 84)` float32.

    Ten classes get the stylised digits 0 to 9, ink +1 and paper -1. Any other number of classes has no drawing, so it
    gets fixed random signs, the paper's other suggestion: two of them differ in 42 of 84 bits, give or take.
    """
    if units != 10:
        # RandomState, because its stream is frozen for ever: a saved model must find the same codes again.
        return np.random.RandomState(1998).choice([-1.0, 1.0], size=(units, BITS)).astype("float32")
    rows = [line.split() for line in DIGITS.split("\n") if line]
    drawings = [[row[digit] for row in rows] for digit in range(10)]
    return np.array([[1.0 if pixel == "#" else -1.0 for pixel in "".join(drawing)] for drawing in drawings], "float32")


@keras.saving.register_keras_serializable(package="kerasnn")
class RBFOutput(keras.layers.Layer):
    """Logits as minus the squared distance to one fixed code per class.

    LeCun, Bottou, Bengio, Haffner 1998, Gradient-Based Learning Applied to Document Recognition, section II.B: y_i is
    the sum of (x_j - w_ij)², the penalty of class i. With logits -y_i, the softmax cross-entropy is the paper's
    discriminative criterion (equation 9) without its constant for a rubbish class. The codes are fixed: no weights.

    Args:
        units: number of classes; 10 get the paper's digits as codes, see `target_codes`.

    Input shape: `(batch, 84)`. Output shape: `(batch, units)`. Computed in float32 whatever the precision.

    Example:
        >>> RBFOutput(10)(keras.ops.zeros((1, 84)))      # ten times -84
    """

    def __init__(self, units: Positive, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.codes = target_codes(units)

    def build(self, input_shape):
        """Check that the input has one number per bit of a code."""
        if input_shape[-1] != BITS:
            raise ValueError(f"RBFOutput compares with codes of {BITS} bits, but received {input_shape[-1]} numbers")

    def call(self, inputs):
        """Minus the squared distance of `inputs` to each code."""
        x = ops.cast(inputs, "float32")
        codes = ops.convert_to_tensor(self.codes)
        # |x - w|² multiplied out; |w|² is 84, since every bit is ±1.
        distance = ops.sum(ops.square(x), axis=-1, keepdims=True) - 2 * ops.matmul(x, ops.transpose(codes)) + BITS
        return ops.cast(-distance, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        """One logit per class."""
        return (*input_shape[:-1], self.units)

    def macs(self, input_shape, output_shape) -> int:
        """Multiply–adds per example: one per class and bit."""
        return self.units * BITS

    def get_config(self):
        """What rebuilds this layer."""
        return super().get_config() | {"units": self.units}
