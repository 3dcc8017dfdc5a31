"""For each preset of `conf/augment`, keras-cv's and Keras core's layers that do the same, with the same strengths.

They are as near to a preset as the libraries allow, and take what costs them least: float32 pictures from 0 to 255, the
range that they compute in. What is not the same:

- Many change every picture where the preset leaves half of them: OF_SOME names these presets' ops, so that they can be
  measured with a probability of 1 too.
- Keras core's GaussianNoise takes deviations up to 1 only, so it is weaker on this range, at the same cost.
- Keras core's Equalization counts the tones of a whole batch as if it were one picture, so it is mapped over pictures.
- Keras core draws less: RandAugment one pair of operations for a whole batch, AugMix its chains once, when it is
  traced, with Python's `random`. TRACED_ANEW has it traced with another seed for each turn, since one draw may be three
  warps a chain, or none. keras-cv's RandAugment and AugMix draw for each picture, as the presets do.
- Keras core's AugMix gets `all_ops=False`: the operations of the paper, as keras-cv's and the preset have them.
"""

import keras
import tensorflow as tf

KERAS_CV, CORE = "keras-cv", "Keras core"

MIXING = ("mixup", "cutmix", "fourier_mix", "mosaic", "kerascv")

OF_SOME = {
    "autocontrast": ["autocontrast"],
    "equalize": ["equalize"],
    "posterize": ["posterize"],
    "solarize": ["solarize"],
    "occlusion": ["occlusion"],
    "erasing": ["erasing"],
    "cutmix": ["cutmix"],
    "fourier_mix": ["fourier_mix"],
    "channel_shuffle": ["channel_shuffle"],
    "kerascv": ["grid_mask", "colour_swap", "region_mix", "mosaic_mix"],
}

TRACED_ANEW = {("augmix", CORE)}

RANGE = {"value_range": (0, 255)}


def keras_cv() -> dict[str, list]:
    """Each preset with keras-cv's layers."""
    from keras_cv import layers

    jitter = {"brightness_factor": 0.2, "contrast_factor": 0.2, "saturation_factor": (0.4, 0.6), "hue_factor": 0.05}
    return {
        "flip_crop": [layers.RandomFlip(), layers.RandomTranslation(0.125, 0.125, fill_mode="constant")],
        "flip": [layers.RandomFlip()],
        **_moves(layers),
        "colour": [layers.RandomColorJitter(**RANGE, **jitter)],
        "autocontrast": [layers.AutoContrast(**RANGE)],
        "equalize": [layers.Equalization(**RANGE)],
        "posterize": [layers.Posterization(**RANGE, bits=4)],
        "solarize": [layers.Solarization(**RANGE, threshold_factor=(127, 127))],
        "sharpness": [layers.RandomSharpness(0.9, **RANGE)],
        "occlusion": [layers.RandomCutout(0.5, 0.5)],
        "erasing": [layers.RandomCutout(0.63, 0.63, fill_mode="gaussian_noise")],
        "strong": [
            layers.RandomFlip(),
            layers.RandomTranslation(0.125, 0.125),
            layers.RandomRotation(15 / 360),
            layers.RandomZoom(0.2),
            layers.RandomColorJitter(**RANGE, **jitter),
            layers.RandomCutout(0.57, 0.57),
        ],
        "randaugment": [layers.RandAugment(**RANGE, augmentations_per_image=2, magnitude=0.3)],
        "augmix": [layers.AugMix(**RANGE)],
        "mixup": [layers.MixUp(0.2)],
        "cutmix": [layers.CutMix(1.0)],
        "fourier_mix": [layers.FourierMix(1.0)],
        "mosaic": [layers.Mosaic()],
        "channel_shuffle": [layers.ChannelShuffle()],
        "kerascv": [
            layers.GridMask((0.2, 0.5), 0.1),
            layers.ChannelShuffle(),
            layers.FourierMix(1.0),
            layers.Mosaic(),
        ],
    }


def core() -> dict[str, list]:
    """Each preset with Keras core's layers."""
    layers = keras.layers
    jitter = {"brightness_factor": 0.2, "contrast_factor": 0.2, "saturation_factor": 0.2, "hue_factor": 0.05}
    return {
        "flip_crop": [
            layers.RandomFlip("horizontal"),
            layers.RandomTranslation(0.125, 0.125, fill_mode="constant"),
        ],
        "flip": [layers.RandomFlip("horizontal")],
        **_moves(layers),
        "colour": [layers.RandomColorJitter(**RANGE, **jitter)],
        "noise": [layers.GaussianNoise(0.05)],
        "autocontrast": [layers.AutoContrast(**RANGE)],
        "equalize": [_for_each(layers.Equalization(**RANGE))],
        "posterize": [layers.RandomPosterization(4, **RANGE)],
        "solarize": [layers.Solarization(threshold_factor=(0.5, 0.5), **RANGE)],
        "sharpness": [layers.RandomSharpness(0.9, **RANGE)],
        "occlusion": [layers.RandomErasing(0.5, (0.02, 0.25), 127, **RANGE)],
        "erasing": [layers.RandomErasing(0.5, (0.02, 0.4), **RANGE)],
        "strong": [
            layers.RandomFlip("horizontal"),
            layers.RandomTranslation(0.125, 0.125),
            layers.RandomRotation(15 / 360),
            layers.RandomZoom(0.2),
            layers.RandomColorJitter(**RANGE, **jitter),
            layers.GaussianNoise(0.05),
            layers.RandomErasing(0.5, (0.02, 0.33), 127, **RANGE),
        ],
        "randaugment": [layers.RandAugment(**RANGE, num_ops=2, factor=0.3)],
        "augmix": [layers.AugMix(**RANGE, all_ops=False)],
        "mixup": [layers.MixUp(0.2)],
        "cutmix": [layers.CutMix(1.0)],
    }


def _moves(layers) -> dict[str, list]:
    """Presets that move pixels: both libraries have the same names and the same arguments."""
    return {
        "translation": [layers.RandomTranslation(0.125, 0.125)],
        "rotation": [layers.RandomRotation(15 / 360)],
        "zoom": [layers.RandomZoom(0.2)],
        "shear": [layers.RandomShear(0.2, 0.2)],
        "geometric": [layers.RandomTranslation(0.1, 0.1), layers.RandomRotation(10 / 360), layers.RandomZoom(0.1)],
    }


def _for_each(layer: keras.Layer):
    """A layer that gets one picture at a time."""

    def run(images, training):
        one = tf.TensorSpec(images.shape[1:], tf.float32)
        return tf.map_fn(lambda image: layer(image, training=training), images, fn_output_signature=one)

    return run
