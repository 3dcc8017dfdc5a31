"""Augmentation beside keras-cv's and Keras core's own layers that do the same: images/s, each preset, in one process.

    python benchmarks/augmentation.py --repeats 5 --json augmentation.json

All get the same float32 batches of 128 pictures of 32×32×3 in [0, 1] within `tf.data.map`, with parallel calls; labels
of classes where pictures are mixed. In each repeat everyone takes a turn; printed are medians with the least and the
most, and ratios of medians. Targets: 3 times keras-cv's for `flip_crop` and `randaugment`, never slower than either for
the others. Last, how long training VGG16 waits for a batch of `flip_crop`, as a share of its step: at most 10 %.

A preset's counterparts are as near to it as the libraries allow, with the same strengths; where they have nothing like
it, or what they have does not run, the table says so.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict

from kerasnn.training.lean_import import import_keras

import_keras()

import keras
import numpy as np
import tensorflow as tf
from comparison import KERASNN, Series, Target, markdown

from kerasnn.augment.policy import Policy
from kerasnn.config.compose import compose
from kerasnn.data.bundle import make_bundle
from kerasnn.data.stream import count_steps, train_stream
from kerasnn.data.synthetic import synthetic
from kerasnn.models.vgg import vgg
from kerasnn.training.losses import CrossEntropy

KERAS_CV, CORE = "keras-cv", "Keras core"
BATCH, CLASSES, PICTURES = 128, 10, 2_048
RANGE = {"value_range": (0.0, 1.0)}

WAIT = "VGG16, share of a step that waits for flip_crop"
MOST_WAIT = 0.1

THREEFOLD = {("flip_crop", KERAS_CV), ("randaugment", KERAS_CV)}

MIXING = ("mixup", "cutmix", "fourier_mix", "mosaic")


def keras_cv() -> dict[str, list]:
    """Each preset with keras-cv's layers."""
    from keras_cv import layers

    jitter = {"brightness_factor": 0.2, "contrast_factor": 0.2, "saturation_factor": (0.4, 0.6), "hue_factor": 0.05}
    return {
        "flip_crop": [layers.RandomFlip(), layers.RandomTranslation(0.125, 0.125, fill_mode="constant")],
        "flip": [layers.RandomFlip()],
        "translation": [layers.RandomTranslation(0.125, 0.125)],
        "rotation": [layers.RandomRotation(15 / 360)],
        "zoom": [layers.RandomZoom(0.2)],
        "shear": [layers.RandomShear(0.2, 0.2)],
        "geometric": [layers.RandomTranslation(0.1, 0.1), layers.RandomRotation(10 / 360), layers.RandomZoom(0.1)],
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
        "kerascv": [layers.GridMask((0.2, 0.5), 0.1), layers.FourierMix(1.0)],
    }


def core() -> dict[str, list]:
    """Each preset with Keras core's layers."""
    layers = keras.layers
    return {
        "flip_crop": [
            layers.RandomFlip("horizontal"), layers.RandomTranslation(0.125, 0.125, fill_mode="constant"),
        ],
        "flip": [layers.RandomFlip("horizontal")],
        "translation": [layers.RandomTranslation(0.125, 0.125)],
        "rotation": [layers.RandomRotation(15 / 360)],
        "zoom": [layers.RandomZoom(0.2)],
        "shear": [layers.RandomShear(0.2, 0.2)],
        "geometric": [layers.RandomTranslation(0.1, 0.1), layers.RandomRotation(10 / 360), layers.RandomZoom(0.1)],
        "colour": [layers.RandomColorJitter(**RANGE, **_core_jitter())],
        "noise": [layers.GaussianNoise(0.05)],
        "autocontrast": [layers.AutoContrast(**RANGE)],
        "equalize": [layers.Equalization(**RANGE)],
        "posterize": [layers.RandomPosterization(4, **RANGE)],
        "solarize": [layers.Solarization(threshold_factor=(0.5, 0.5), **RANGE)],
        "sharpness": [layers.RandomSharpness(0.9, **RANGE)],
        "occlusion": [layers.RandomErasing(0.5, (0.02, 0.25), 0.5, **RANGE)],
        "erasing": [layers.RandomErasing(0.5, (0.02, 0.4), **RANGE)],
        "strong": [
            layers.RandomFlip("horizontal"),
            layers.RandomTranslation(0.125, 0.125),
            layers.RandomRotation(15 / 360),
            layers.RandomZoom(0.2),
            layers.RandomColorJitter(**RANGE, **_core_jitter()),
            layers.GaussianNoise(0.05),
            layers.RandomErasing(0.5, (0.02, 0.33), 0.5, **RANGE),
        ],
        "randaugment": [layers.RandAugment(**RANGE, num_ops=2, factor=0.3)],
        "augmix": [layers.AugMix(**RANGE)],
        "mixup": [layers.MixUp(0.2)],
        "cutmix": [layers.CutMix(1.0)],
    }  # fmt: skip


def _core_jitter() -> dict[str, float]:
    return {"brightness_factor": 0.2, "contrast_factor": 0.2, "saturation_factor": 0.2, "hue_factor": 0.05}


def policy(preset: str) -> Callable:
    """kerasnn's own, as `augment=preset` makes it, mixing in every epoch."""
    made = Policy({name: make() for name, make in compose([f"augment=[{preset}]"]).augment.items()}, CLASSES)
    return lambda images, labels, step: made(images, labels, tf.stack([0, step]))


def chained(layers: list, mixes: bool) -> Callable:
    """Layers of a library, one after the other, on pictures or on pictures with labels."""

    def run(images, labels, step):
        batch = {"images": images, "labels": tf.one_hot(labels, CLASSES)} if mixes else images
        for layer in layers:
            batch = layer(batch, training=True)
        return (batch["images"], batch["labels"]) if mixes else (batch, labels)

    return run


def dataset(augment: Callable, steps: int) -> tf.data.Dataset:
    """Batches of random pictures through `augment`."""
    random = np.random.default_rng(0)
    with tf.device("/CPU:0"):
        images = tf.constant(random.integers(0, 256, (PICTURES, 32, 32, 3), np.uint8))
        labels = tf.constant(random.integers(0, CLASSES, PICTURES), tf.int32)

    def make(step):
        rows = (tf.range(BATCH) + step * BATCH) % PICTURES
        return augment(tf.cast(tf.gather(images, rows), tf.float32) / 255.0, tf.gather(labels, rows), step)

    counted = tf.data.Dataset.range(steps, output_type=tf.int32)
    return counted.map(make, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def rate(batches: tf.data.Dataset, steps: int) -> float:
    """Images per second of all batches but the first, before which threads start."""
    iterator = iter(batches)
    next(iterator)
    begun = time.perf_counter()
    for _ in iterator:
        pass
    return BATCH * (steps - 1) / (time.perf_counter() - begun)


def race(preset: str, competitors: dict[str, dict[str, list]], repeats: int, steps: int) -> list[Series]:
    """One preset's competitors, in turns."""
    section = f"{preset}, images/s"
    series, racing = {}, {}
    for who in (KERASNN, *competitors):
        layers = competitors.get(who, {}).get(preset)
        series[who] = Series(section, who, absent="has none" if who != KERASNN and layers is None else "")
        if series[who].absent:
            continue
        try:
            mixes = preset in MIXING or preset == "kerascv"
            racing[who] = dataset(policy(preset) if who == KERASNN else chained(layers, mixes), steps)
            rate(racing[who].take(2), 2)
        except Exception as error:
            if who == KERASNN:
                raise
            racing.pop(who, None)
            series[who].absent = f"fails: {type(error).__name__}"
    for _ in range(repeats):
        for who, batches in racing.items():
            series[who].values.append(rate(batches, steps))
    return list(series.values())


def targets(presets: list[str]) -> dict[tuple[str, str], Target]:
    """What each preset is to reach beside each library."""
    return {
        (f"{preset}, images/s", who): Target("≥", 3 if (preset, who) in THREEFOLD else 1)
        for preset in presets
        for who in (KERAS_CV, CORE)
    }


def wait_share(steps: int, batch_size: int) -> float:
    """The share of VGG16's training on pictures of CIFAR's size that it waits for the next batch of flip_crop."""
    made = Policy({name: make() for name, make in compose(["augment=flip_crop"]).augment.items()})
    bundle = make_bundle(synthetic(examples=max(4 * batch_size, 800)))
    assert count_steps(len(bundle.train), batch_size) >= 2
    model = vgg("vgg16_bn", bundle.input_shape, bundle.num_classes)
    model.compile("sgd", CrossEntropy(), jit_compile=False)
    stream = iter(train_stream(bundle, seed=0, batch_size=batch_size, epochs=steps + 1, augment=made))
    model.train_on_batch(*next(stream))  # Traces.
    waited, begun = 0.0, time.perf_counter()
    for _ in range(steps):
        asked = time.perf_counter()
        batch = next(stream)
        waited += time.perf_counter() - asked
        model.train_on_batch(*batch)
    return waited / (time.perf_counter() - begun)


def main() -> None:
    """Measures in turn and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=80, help="batches per turn")
    parser.add_argument("--only", nargs="*", help="presets; all that have a counterpart, if none is named")
    parser.add_argument("--quick", action="store_true", help="a few batches of each, to see that all runs")
    parser.add_argument("--no-wait", action="store_true", help="leave VGG16 out")
    parser.add_argument("--json", metavar="FILE")
    asked = parser.parse_args()
    steps, repeats = (3, 1) if asked.quick else (asked.steps, asked.repeats)
    competitors = {KERAS_CV: keras_cv(), CORE: core()}
    presets = asked.only or list(dict.fromkeys([*competitors[KERAS_CV], *competitors[CORE], "trivial"]))
    series = [one for preset in presets for one in race(preset, competitors, repeats, steps)]
    print(markdown(series, targets(presets)))
    facts = {"series": [asdict(one) for one in series], "load": os.getloadavg(), "cores": os.cpu_count()}
    if not asked.no_wait:
        facts["wait"] = wait_share(2, 8) if asked.quick else wait_share(12, BATCH)
        print(f"\n{WAIT}: {facts['wait']:.2%} (target ≤ {MOST_WAIT:.0%}: {_judged(facts['wait'])})")
    print(f"\nLoad {' '.join(f'{load:.1f}' for load in os.getloadavg())} on {os.cpu_count()} cores.")
    if asked.json:
        with open(asked.json, "w", encoding="utf-8") as file:
            json.dump(facts, file, indent=2)


def _judged(share: float) -> str:
    return "met" if share <= MOST_WAIT else "missed"


if __name__ == "__main__":
    main()
