"""The competitor: the script that one writes without kerasnn, and the same script by one who knows where time goes.

python plain_keras.py --model vgg16 --data pictures.npz --epochs 5 --variant as_written
"""

import argparse
import math
import os
import sys

if "best" in sys.argv:
    # Read when TensorFlow is imported; it turns these kernels on by itself only where the CPU has AVX-512.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
from keras import layers

STEPS_PER_CALL = 10  # Of `best`: Python is called once for that many; as many as divide an epoch.


def lenet5():
    return keras.Sequential(
        [
            keras.Input((32, 32, 1)),
            layers.Conv2D(6, 5, activation="tanh"),
            layers.AveragePooling2D(2),
            layers.Conv2D(16, 5, activation="tanh"),
            layers.AveragePooling2D(2),
            layers.Conv2D(120, 5, activation="tanh"),
            layers.Flatten(),
            layers.Dense(84, activation="tanh"),
            layers.Dense(10),
        ]
    )


def vgg16():
    model = keras.Sequential([keras.Input((32, 32, 3))])
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            model.add(layers.Conv2D(width, 3, padding="same", activation="relu"))
        model.add(layers.MaxPooling2D(2))
    model.add(layers.Flatten())
    for _ in range(2):
        model.add(layers.Dense(4096, activation="relu"))
        model.add(layers.Dropout(0.5))
    model.add(layers.Dense(10))
    return model


def as_written(model, train, validation, test, batch_size, epochs, callbacks):
    """The defaults: arrays into fit, whatever compile chooses (XLA, on a CPU too), a progress bar."""
    images, labels = train
    model.compile(
        optimizer="adam",
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(images, labels, batch_size=batch_size, epochs=epochs, validation_data=validation, callbacks=callbacks)
    return model.evaluate(*test)


def best(model, train, validation, test, batch_size, epochs, callbacks):
    """oneDNN, no XLA; row numbers are shuffled, and whole batches gathered, beside the training; fewer calls."""
    import tensorflow as tf

    images, labels = map(tf.constant, train)
    steps = len(labels) // batch_size

    def shuffled(_):
        return tf.reshape(tf.random.shuffle(tf.range(len(labels)))[: steps * batch_size], (steps, batch_size))

    stream = (
        tf.data.Dataset.range(epochs)
        .map(shuffled)
        .unbatch()
        .map(lambda rows: (tf.gather(images, rows), tf.gather(labels, rows)), num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )
    validation, test = (
        tf.data.Dataset.from_tensor_slices(split).batch(batch_size).cache().prefetch(tf.data.AUTOTUNE)
        for split in (validation, test)
    )
    model.compile(
        optimizer="adam",
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
        steps_per_execution=math.gcd(steps, STEPS_PER_CALL),
    )
    model.fit(stream, epochs=epochs, steps_per_epoch=steps, validation_data=validation, callbacks=callbacks, verbose=2)
    return model.evaluate(test, verbose=2)


def load(path):
    """Training, validation and test split, float32 in [0, 1]; 28×28 pictures get LeNet-5's border of 2."""
    splits = []
    with np.load(path) as file:
        for name in ("train", "validation", "test"):
            images = file[f"{name}_images"].astype("float32") / 255
            if images.shape[1] == 28:
                images = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
            splits.append((images, file[f"{name}_labels"]))
    return splits


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=("lenet5", "vgg16"), required=True)
    parser.add_argument("--variant", choices=("as_written", "best"), default="as_written")
    parser.add_argument("--data", required=True)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--report", help="where the times go; without it nothing is timed")
    options = parser.parse_args()

    callbacks = []
    if options.report:
        from clock import Clock

        callbacks.append(Clock(options.report))
    model = {"lenet5": lenet5, "vgg16": vgg16}[options.model]()
    fit = {"as_written": as_written, "best": best}[options.variant]
    _, accuracy = fit(model, *load(options.data), options.batch_size, options.epochs, callbacks)
    print(f"test accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
