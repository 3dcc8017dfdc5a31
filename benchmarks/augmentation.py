"""Augmentation beside keras-cv's and Keras core's own layers that do the same: images/s, each preset, in one process.

    python benchmarks/augmentation.py --repeats 5 --json augmentation.json

All get the same uint8 batches of 128 pictures of 32×32×3 within `tf.data.map`, as many at a time as there are cores,
and make float32 in [0, 1] of them, with shares of classes where pictures are mixed. The libraries' layers work on 0 to
255 and are divided by 255 last (`counterparts.py` tells more). In each repeat everyone takes a turn of the same length,
the order reversed every other time; neither tracing nor a turn's first batches count. Where a preset leaves some of the
pictures and the libraries' layers none, a second row has the preset changing every one.

Printed are medians, and the median of the ratios within each repeat. Targets: 3 times keras-cv's for `flip_crop` and
`randaugment`, never slower than either for the others. Last, how long training VGG16 waits for a batch of `flip_crop`,
as a share of its step: at most 10 %.
"""

import argparse
import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import asdict
from itertools import islice
from statistics import median

from kerasnn.training.lean_import import import_keras

import_keras()

import numpy as np
import tensorflow as tf
from comparison import KERASNN, Series, Target
from counterparts import CORE, KERAS_CV, MIXING, OF_SOME, TRACED_ANEW, core, keras_cv

from kerasnn.augment.policy import Policy
from kerasnn.config.compose import compose
from kerasnn.data.bundle import make_bundle
from kerasnn.data.stream import count_steps, train_stream
from kerasnn.data.synthetic import synthetic
from kerasnn.models.vgg import vgg
from kerasnn.training.losses import CrossEntropy

BATCH, CLASSES, PICTURES, WARM_UP = 128, 10, 2_048, 4

EVERY, NONE, SECTION = f"{KERASNN}, every one", "has none", ", images/s"
WIDTHS = (17, 7, 8, 4, 7, 4, 10)

WAIT = "VGG16, share of a step that waits for flip_crop"
MOST_WAIT = 0.1

NOTES = f"""* Every picture is changed, not some of them.
Targets are those beside {KERAS_CV}; beside {CORE} each is 1.
{CORE}'s RandAugment draws once for a batch, its AugMix once for a turn."""

THREEFOLD = {("flip_crop", KERAS_CV), ("randaugment", KERAS_CV)}


def policy(preset: str, *overrides: str) -> Callable:
    """kerasnn's own, as `augment=preset` makes it, mixing in every epoch."""
    ops = compose([f"augment=[{preset}]", *overrides]).augment
    made = Policy({name: make() for name, make in ops.items()}, CLASSES)

    def run(images, labels, step):
        return made(tf.cast(images, tf.float32) / 255.0, labels, tf.stack([0, step]))

    return run


def chained(layers: list, mixes: bool) -> Callable:
    """Layers of a library, one after the other, on pictures or on pictures with labels."""

    def run(images, labels, step):
        images = tf.cast(images, tf.float32)
        batch = {"images": images, "labels": tf.one_hot(labels, CLASSES)} if mixes else images
        for layer in layers:
            batch = layer(batch, training=True)
        images, labels = (batch["images"], batch["labels"]) if mixes else (batch, labels)
        return images / 255.0, labels

    return run


def dataset(augment: Callable) -> tf.data.Dataset:
    """Batches of random pictures through `augment`, without an end."""
    numbers = np.random.default_rng(0)
    with tf.device("/CPU:0"):
        images = tf.constant(numbers.integers(0, 256, (PICTURES, 32, 32, 3), np.uint8))
        labels = tf.constant(numbers.integers(0, CLASSES, PICTURES), tf.int32)

    def make(step):
        rows = (tf.range(BATCH) + step * BATCH) % PICTURES
        return augment(tf.gather(images, rows), tf.gather(labels, rows), step)

    # A fixed number of calls: what AUTOTUNE picks in a short turn is chance.
    steps = tf.data.Dataset.range(2**31 - 1, output_type=tf.int32)
    return steps.map(make, num_parallel_calls=os.cpu_count()).prefetch(2)


def rate(batches: tf.data.Dataset, seconds: float) -> float:
    """Images per second, from when the threads are at work."""
    iterator = iter(batches)
    for _ in islice(iterator, WARM_UP):
        pass
    begun, done, passed = time.perf_counter(), 0, 0.0
    while passed <= seconds:
        next(iterator)
        done, passed = done + 1, time.perf_counter() - begun
    return BATCH * done / passed


def race(preset: str, libraries: dict[str, dict[str, list]], repeats: int, seconds: float) -> list[Series]:
    """One preset's competitors, in turns."""
    runners = {KERASNN: policy(preset)}
    if preset in OF_SOME:
        runners[EVERY] = policy(preset, *(f"augment.{op}.probability=1.0" for op in OF_SOME[preset]))
    layers = {who: presets[preset] for who, presets in libraries.items() if preset in presets}
    runners |= {who: chained(own, preset in MIXING) for who, own in layers.items()}
    section = preset + SECTION
    series = {who: Series(section, who) for who in runners}
    series |= {who: Series(section, who, absent=NONE) for who in libraries if who not in layers}
    racing = {}
    for who, runner in runners.items():
        try:
            racing[who] = dataset(runner)
            rate(racing[who], 0.0)
        except Exception as error:
            if who in (KERASNN, EVERY):
                raise
            del racing[who]
            series[who].absent = f"fails: {type(error).__name__}"
    for turn in range(repeats):
        for who in list(racing)[:: -1 if turn % 2 else 1]:
            if (preset, who) in TRACED_ANEW:
                random.seed(turn)
                racing[who] = dataset(runners[who])
            series[who].values.append(rate(racing[who], seconds))
    return list(series.values())


def target(preset: str, who: str) -> Target:
    """What a preset is to reach beside a library."""
    return Target("≥", 3 if (preset, who) in THREEFOLD else 1)


def ratio(own: Series, other: Series) -> float:
    """The median of own ÷ other in each repeat, so that a machine that slows down slows both."""
    return median(mine / theirs for mine, theirs in zip(own.values, other.values, strict=True))


def row(cells: list[str]) -> str:
    """A line of the table, 79 columns wide."""
    return f"| {' | '.join([cells[0].ljust(WIDTHS[0]), *map(str.rjust, cells[1:], WIDTHS[1:])])} |"


def table_rows(series: list[Series]) -> list[str]:
    """A row for the preset, and one for it changing every picture."""
    by_name = {one.who: one for one in series}
    preset = series[0].section.removesuffix(SECTION)
    rows = []
    for own in [by_name[who] for who in (KERASNN, EVERY) if who in by_name]:
        cells, met = [preset + " *" * (own.who == EVERY), f"{median(own.values):,.0f}"], []
        for who in (KERAS_CV, CORE):
            other = by_name[who]
            if other.values:
                quotient = ratio(own, other)
                met.append(target(preset, who).met(quotient))
                cells += [f"{median(other.values):,.0f}", f"{quotient:.2f}" if quotient < 9.995 else f"{quotient:.1f}"]
            else:
                cells += ["none" if other.absent == NONE else "fails", ""]
        rows.append(row([*cells, f"{target(preset, KERAS_CV)} {'met' if all(met) else 'missed'}" if met else ""]))
    return rows


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
    """Measures in turn and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each turn; a batch that is begun is finished")
    parser.add_argument("--only", nargs="*", help="presets; all that have a counterpart, if none is named")
    parser.add_argument("--quick", action="store_true", help="a few batches of each, to see that all runs")
    parser.add_argument("--no-wait", action="store_true", help="leave VGG16 out")
    parser.add_argument("--json", metavar="FILE")
    asked = parser.parse_args()
    seconds, repeats = (0.01, 1) if asked.quick else (asked.seconds, asked.repeats)
    libraries = {KERAS_CV: keras_cv(), CORE: core()}
    presets = asked.only or list(dict.fromkeys([*libraries[KERAS_CV], *libraries[CORE], "trivial"]))
    print(row(["images/s", KERASNN, KERAS_CV, "÷ it", "core", "÷ it", "target"]))
    print(row(["-" * width for width in WIDTHS]))
    series = []
    for preset in presets:
        raced = race(preset, libraries, repeats, seconds)
        series += raced
        print(*table_rows(raced), sep="\n", flush=True)
    print(f"\n{NOTES}")
    for one in series:
        if one.absent not in ("", NONE):
            print(f"{one.section}: {one.who} {one.absent}")
    facts = {"series": [asdict(one) for one in series], "cores": os.cpu_count()}
    if not asked.no_wait:
        facts["wait"] = wait_share(2, 8) if asked.quick else wait_share(12, BATCH)
        print(f"\n{WAIT}: {facts['wait']:.2%} (target ≤ {MOST_WAIT:.0%}: {_judged(facts['wait'])})")
    facts["load"] = os.getloadavg()
    print(f"\nLoad {' '.join(f'{load:.1f}' for load in os.getloadavg())} on {os.cpu_count()} cores.")
    if asked.json:
        with open(asked.json, "w", encoding="utf-8") as file:
            json.dump(facts, file, indent=2)


def _judged(share: float) -> str:
    return "met" if share <= MOST_WAIT else "missed"


if __name__ == "__main__":
    main()
