"""Every network of the package, with what its paper says about it: the one file that sees all families.

A row's name is also the YAML file in conf/model and the `name` of the model that it builds. Tests recount each row at
its published size and train each at its toy size.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import keras

from kerasnn.models.alexnet import alexnet
from kerasnn.models.lenet import lenet5, lenet5_1998
from kerasnn.models.mlp import mlp
from kerasnn.models.perceptron import perceptron
from kerasnn.models.vgg import VGG, vgg


@dataclass(frozen=True)
class Entry:
    """One network.

    Args:
        builder: the family's function.
        paper: authors, year and title.
        year: of the paper.
        input_shape: of the published network, `(height, width, channels)`.
        num_classes: of the published network.
        params_published: the count at that size.
        counts: what the published count counts.
        smallest: the smallest legal input.
        options: arguments that make the builder build this row, such as the variant.
        toy: further arguments that shrink it for tests; the input is then `smallest`.
    """

    builder: Callable[..., keras.Model]
    paper: str
    year: int
    input_shape: tuple[int, int, int]
    num_classes: int
    params_published: int
    counts: str
    smallest: tuple[int, int, int]
    options: dict = field(default_factory=dict)
    toy: dict = field(default_factory=dict)

    def build(self) -> keras.Model:
        """The network at its published size."""
        return self.builder(input_shape=self.input_shape, num_classes=self.num_classes, **self.options)

    def build_toy(self, num_classes: int = 10) -> keras.Model:
        """The same network, small enough for a test."""
        return self.builder(input_shape=self.smallest, num_classes=num_classes, **self.options, **self.toy)


LECUN = "LeCun, Bottou, Bengio, Haffner 1998, Gradient-Based Learning Applied to Document Recognition"

CATALOGUE = {
    "perceptron": Entry(
        builder=perceptron,
        paper="Rosenblatt 1958, The Perceptron: A Probabilistic Model for Information Storage and Organization in the "
        "Brain",
        year=1958,
        input_shape=(28, 28, 1),
        num_classes=10,
        params_published=7_850,
        counts="added up by hand for MNIST: the paper gives no such size",
        smallest=(1, 1, 1),
    ),
    "mlp": Entry(
        builder=mlp,
        paper="Rumelhart, Hinton, Williams 1986, Learning representations by back-propagating errors",
        year=1986,
        input_shape=(28, 28, 1),
        num_classes=10,
        params_published=266_610,
        counts="added up by hand for 28×28-300-100-10, a network of LeCun et al. 1998",
        smallest=(1, 1, 1),
        toy={"hidden_widths": (8, 6)},
    ),
    "lenet5": Entry(
        builder=lenet5,
        paper=LECUN,
        year=1998,
        input_shape=(32, 32, 1),
        num_classes=10,
        params_published=61_706,
        counts="the dense variant that everyone writes",
        smallest=(32, 32, 1),
    ),
    "lenet5_1998": Entry(
        builder=lenet5_1998,
        paper=LECUN,
        year=1998,
        input_shape=(32, 32, 1),
        num_classes=10,
        params_published=60_000,
        counts="the paper's trainable weights; its fixed output codes are none",
        smallest=(32, 32, 1),
    ),
    "alexnet": Entry(
        builder=alexnet,
        paper="Krizhevsky, Sutskever, Hinton 2012, ImageNet Classification with Deep Convolutional Neural Networks",
        year=2012,
        input_shape=(227, 227, 3),
        num_classes=1000,
        params_published=60_965_224,
        counts="all weights, two towers",
        smallest=(15, 15, 3),
        toy={"widths": (4, 8, 8, 8, 8), "hidden_widths": (16, 16)},
    ),
    **{
        variant: Entry(
            builder=vgg,
            paper="Simonyan, Zisserman 2015, Very Deep Convolutional Networks for Large-Scale Image Recognition",
            year=2015,
            input_shape=(224, 224, 3),
            num_classes=1000,
            params_published=published,
            counts="trainable weights, as in torchvision",
            smallest=(32, 32, 3),
            options={"variant": variant},
            toy={"widths": (4, 4, 8, 8, 8), "hidden_widths": (16, 16)},
        )
        for variant, (_, _, published) in VGG.items()
    },
}
