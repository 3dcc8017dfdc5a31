"""Dropout of feature maps, as every family of pictures offers it: the same two options, behind each of its stages."""

from collections.abc import Callable

from keras import layers

from kerasnn.layers.drop_block import DropBlock2D
from kerasnn.ranges import Fraction


def map_dropout(spatial_dropout: Fraction = 0.0, drop_block: Fraction = 0.0) -> Callable:
    """What a family puts behind each stage: a function of maps and the stage's name, to maps of the same shape.

    Args:
        spatial_dropout: share of the maps that is dropped whole in training (Tompson et al. 2015, Efficient Object
            Localization Using Convolutional Networks, section 3.2); 0 adds no layer.
        drop_block: share of each map that is dropped in square blocks, see `DropBlock2D`; 0 adds no layer.

    Example:
        >>> drop = map_dropout(spatial_dropout=0.1)
        >>> x = drop(x, "block1")      # adds the layer block1_spatial_dropout
    """

    def drop(x, name: str):
        if spatial_dropout:
            # One draw per map, not per number: a map falls out as a whole.
            x = layers.Dropout(spatial_dropout, noise_shape=(None, 1, 1, None), name=f"{name}_spatial_dropout")(x)
        if drop_block:
            x = DropBlock2D(drop_block, name=f"{name}_drop_block")(x)
        return x

    return drop
