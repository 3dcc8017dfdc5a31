"""Training steps with and without TensorFlow's oneDNN kernels, in alternating fresh processes.

    python benchmarks/onednn.py --repeats 3

TensorFlow reads TF_ENABLE_ONEDNN_OPTS when it is imported, so each measurement is a process of its own. Printed are
medians with the least and the most, in images/s, of LeNet-5 at 32×32×1 and VGG-16 at 32×32×3, batches of 128.
"""

import argparse
import os
import subprocess
import sys
import time
from statistics import median

STEPS = {"lenet5": 100, "vgg16": 3}


def measure(network: str) -> float:
    """Images per second of this process' TensorFlow."""
    from kerasnn.training.lean_import import import_keras

    import_keras()
    import keras
    import numpy as np

    from kerasnn.models.lenet import lenet5
    from kerasnn.models.vgg import vgg

    model = lenet5((32, 32, 1), 10) if network == "lenet5" else vgg(network, (32, 32, 3), 10)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-4), loss, jit_compile=False)
    random = np.random.default_rng(0)
    images = random.random((128, *model.input_shape[1:]), dtype="float32")
    labels = random.integers(0, 10, 128)
    model.train_on_batch(images, labels)  # Traces.
    begun = time.perf_counter()
    for _ in range(STEPS[network]):
        model.train_on_batch(images, labels)
    return 128 * STEPS[network] / (time.perf_counter() - begun)


def main() -> None:
    """Measures in turn and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", choices=STEPS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(measure(asked.measure))
        return
    rates: dict[tuple[str, str], list[float]] = {}
    for _ in range(asked.repeats):
        for network in STEPS:
            for switch in ("0", "1"):
                answer = subprocess.run(
                    [sys.executable, __file__, "--measure", network],
                    env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": switch}, capture_output=True, text=True, check=True,
                )  # fmt: skip
                rates.setdefault((network, switch), []).append(float(answer.stdout.split()[-1]))
    print("| network | without oneDNN | with | ratio |\n| --- | --- | --- | --- |")
    for network in STEPS:
        without, with_it = (rates[network, switch] for switch in ("0", "1"))
        cells = [f"{median(some):,.0f} ({min(some):,.0f}–{max(some):,.0f})" for some in (without, with_it)]
        print(f"| {network} | {cells[0]} | {cells[1]} | {median(with_it) / median(without):.2f} |")


if __name__ == "__main__":
    main()
