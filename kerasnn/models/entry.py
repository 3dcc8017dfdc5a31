"""What the catalogue says about one network, and how it is built at its published size and at a toy one."""

from collections.abc import Callable
from dataclasses import dataclass, field

import keras


@dataclass(frozen=True)
class Entry:
    """One network.

    Args:
        builder: the family's function.
        paper: authors, year and title.
        year: in which the paper was first made public; journals and conferences often print it a year later.
        input_shape: of the published network, `(height, width, channels)` or `(tokens,)`.
        num_classes: of the published network; None where the builder takes none, as a language model.
        params_published: the count at that size.
        counts: what the published count counts.
        smallest: the smallest legal input.
        options: arguments that make the builder build this row, such as the variant.
        toy: further arguments that shrink it for tests; the input is then `smallest`.
    """

    builder: Callable[..., keras.Model]
    paper: str
    year: int
    input_shape: tuple[int, ...]
    num_classes: int | None
    params_published: int
    counts: str
    smallest: tuple[int, ...]
    options: dict = field(default_factory=dict)
    toy: dict = field(default_factory=dict)

    def build(self) -> keras.Model:
        """The network at its published size."""
        return self._build(self.input_shape, self.num_classes, self.options)

    def build_toy(self, num_classes: int = 10) -> keras.Model:
        """The same network, small enough for a test; of `num_classes` if it takes any."""
        return self._build(self.smallest, num_classes, self.options | self.toy)

    def _build(self, input_shape: tuple[int, ...], num_classes: int, options: dict) -> keras.Model:
        classes = {} if self.num_classes is None else {"num_classes": num_classes}
        return self.builder(input_shape=input_shape, **classes, **options)
