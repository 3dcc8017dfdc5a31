"""What comes before `fit`: a deep belief net learns to model its pictures, one layer after the other, without labels.

Hinton, Osindero, Teh 2006, A Fast Learning Algorithm for Deep Belief Nets, Neural Computation 18(7), section 4; the
defaults are those of the code published with Hinton, Salakhutdinov 2006, Reducing the Dimensionality of Data with
Neural Networks, Science 313; what is sampled and what is a probability, and the free-energy gap, follow Hinton 2010, A
Practical Guide to Training Restricted Boltzmann Machines, sections 3 and 6.

Each sigmoid layer is trained as the upper half of a restricted Boltzmann machine. The first machine sees pixels, whose
intensities from 0 to 1 are taken as probabilities; each further one sees the probabilities of the hidden units below,
which no longer change. The machine's kernel and hidden biases then become the layer's.
"""

import logging
import math
import time
from collections.abc import Callable
from itertools import count, takewhile
from typing import Annotated

import keras
import numpy as np
from keras import ops

from kerasnn.data.bundle import Bundle
from kerasnn.data.stream import count_steps, evaluation_stream, reading_error, train_stream
from kerasnn.errors import ConfigError, TrainingError
from kerasnn.layers.restricted_boltzmann import RestrictedBoltzmann
from kerasnn.ranges import Count, NonNegativeFloat, Positive, PositiveFloat, Range, Seed
from kerasnn.tracking.tracker import Tracker
from kerasnn.training.callbacks import LINE_SECONDS, LOOK_SECONDS, learning_rate

log = logging.getLogger(__name__)

Momentum = Annotated[float, Range(above=0, below=1)]

DEVIATION = 0.1  # Of a new kernel's normal distribution, as in the published code.


def contrastive_divergence(
    model: keras.Model,
    bundle: Bundle,
    tracker: Tracker,
    *,
    seed: Seed,
    batch_size: Positive,
    epochs: Positive = 10,
    steps_per_epoch: Positive | None = None,
    learning_rate: PositiveFloat = 0.1,
    momentum: tuple[Momentum, Momentum] = (0.5, 0.9),
    momentum_epochs: Count = 5,
    weight_decay: NonNegativeFloat = 0.0002,
    gibbs_steps: Positive = 1,
) -> dict[str, list[float]]:
    """Trains the layers `rbm1`, `rbm2`, … of `model` one after the other, each as a restricted Boltzmann machine.

    Order, first weights and samples are functions of seed, layer, epoch and step, the same on any number of devices.
    The machines live on the devices on which the model was built.

    Args:
        model: a deep belief net, `kerasnn.models.dbn.dbn`; only its `rbm` layers change.
        bundle: the pictures; labels are not looked at.
        tracker: gets `pretrain/rbm1/reconstruction_error` (mean square per visible unit, over the epoch) and
            `pretrain/rbm1/free_energy_gap` (validation less as many training pictures: it grows by overfitting).
        seed: of everything drawn.
        batch_size: pictures per step, over all devices.
        epochs: passes over the training pictures for each machine.
        steps_per_epoch: a limit on the steps of an epoch; None takes every full batch.
        learning_rate: step size for weights and biases.
        momentum: in the first epochs, and after them.
        momentum_epochs: how many first epochs.
        weight_decay: share of each kernel that is added to its gradient.
        gibbs_steps: steps of the chain that makes the reconstruction: the k of CD-k.

    Returns:
        What the tracker got: the values of each metric by epoch.

    Raises:
        ConfigError: the model has no layer `rbm1`.
        TrainingError: the loss is no number any more.
        DataError: there are fewer pictures than `batch_size`, or one cannot be read.

    Example:
        >>> contrastive_divergence(dbn(bundle.input_shape, 10), bundle, NoTracker(), seed=0, batch_size=100)
    """
    steps = count_steps(len(bundle.train), batch_size, steps_per_epoch)
    decay = keras.regularizers.L2(weight_decay / 2)  # Its gradient is weight_decay × kernel.
    history: dict[str, list[float]] = {}
    below: list[RestrictedBoltzmann] = []
    for number, layer in enumerate(sigmoid_layers(model), start=1):
        own_seed = seed + (number << 32)  # The stream takes seeds of 62 bits: each machine has draws of its own.
        kernel = keras.initializers.RandomNormal(stddev=DEVIATION, seed=own_seed)
        with model.distribute_strategy.scope():
            machine = RestrictedBoltzmann(layer.units, kernel, decay, name=layer.name, dtype="float32")
            pupil = Pupil(bundle, below, machine)
            pupil.compile(keras.optimizers.SGD(learning_rate, momentum=momentum[0]), jit_compile=False)
        record = Record(layer.name, tracker, epochs, free_energy_gap(pupil, bundle, batch_size))
        stream = noisy_stream(bundle, own_seed, batch_size, epochs, steps, noise=(gibbs_steps, layer.units))
        log.info("pre-training of %s: %d units see %d, CD-%d", layer.name, layer.units, pupil.sees, gibbs_steps)
        try:
            pupil.fit(
                stream,
                epochs=epochs,
                steps_per_epoch=steps,
                callbacks=[MomentumChange(momentum_epochs, momentum[1]), record],
                shuffle=False,
                verbose=0,
            )
        except Exception as error:
            raise reading_error(error) or error from error
        hand_over(machine, layer, bundle if number == 1 else None)
        machine.trainable = False
        below = [*below, machine]
        history |= record.history
    return history


def sigmoid_layers(model: keras.Model) -> list[keras.layers.Dense]:
    """The layers that were or will be machines: `rbm1`, `rbm2`, …

    Raises:
        ConfigError: there is none.
    """
    layers = {layer.name: layer for layer in model.layers}
    names = list(takewhile(layers.__contains__, (f"rbm{number}" for number in count(1))))
    if not names:
        raise ConfigError(
            f"contrastive divergence trains the layers rbm1, rbm2, … of a deep belief net, but {model.name} has none: "
            "set model.pretrain=null, or take model=dbn with hidden_widths"
        )
    return [layers[name] for name in names]


class Pupil(keras.Model):
    """A machine in training, above machines that no longer change.

    The loss is F(v) - F(v'): the free energy of what the machine sees less that of what it makes of it, v' held fixed.
    Its gradient is contrastive divergence's, <v' h'> - <v h> with hidden probabilities, so that any optimizer fits.

    Args:
        bundle: gives the pictures' shape, and the statistics by which the stream standardises them.
        below: trained machines, lowest first.
        machine: the one to train.

    Inputs: pictures `(batch, height, width, channels)`, standardised, and noise `(batch, steps, units)` in [0, 1).
    Output: the reconstruction v', `(batch, visible)`.
    """

    def __init__(self, bundle: Bundle, below: list[RestrictedBoltzmann], machine: RestrictedBoltzmann):
        super().__init__(dtype="float32")
        self.below = below
        self.machine = machine
        self.sees = below[-1].units if below else math.prod(bundle.input_shape)
        self.reconstruction_error = keras.metrics.Mean("reconstruction_error")
        self._mean, self._deviation = bundle.mean, bundle.deviation
        machine.build((None, self.sees))
        self.built = True

    def call(self, inputs):
        """The reconstruction of a batch; adds its loss and its error."""
        pictures, noise = inputs
        seen = self.look(pictures)
        imagined = ops.stop_gradient(self.machine.gibbs(seen, noise))
        self.reconstruction_error.update_state(ops.mean(ops.square(seen - imagined), axis=-1))
        self.add_loss(ops.mean(self.machine(seen) - self.machine(imagined)))
        return imagined

    def look(self, pictures):
        """What the machine sees of standardised pictures: `(batch, visible)` probabilities."""
        pixels = pictures * ops.convert_to_tensor(self._deviation) + ops.convert_to_tensor(self._mean)
        seen = ops.reshape(ops.clip(pixels, 0, 1), (-1, math.prod(pictures.shape[1:])))  # Rounding may step outside.
        for machine in self.below:
            seen = machine.hidden(seen)
        return seen


def noisy_stream(bundle: Bundle, seed: int, batch_size: int, epochs: int, steps_per_epoch: int, noise: tuple[int, int]):
    """The training pictures, each batch with the random numbers of its Gibbs chain: ((pictures, noise),).

    Drawn here, they are a function of (seed, epoch, step) like the batch itself, and are shared out to devices with it.

    Args:
        bundle: what to train on.
        seed: of order and noise.
        batch_size: pictures per batch, over all devices.
        epochs: how many.
        steps_per_epoch: batches in each.
        noise: `(steps, units)` of one picture's chain.
    """

    def draw(pictures, labels, seed, epoch):
        return pictures, keras.random.uniform((batch_size, *noise), seed=BatchSeed(seed))

    def as_inputs(pictures, numbers):
        return ((pictures, numbers),)

    return train_stream(
        bundle, seed=seed, batch_size=batch_size, epochs=epochs, steps_per_epoch=steps_per_epoch, augment=draw
    ).map(as_inputs)


class BatchSeed(keras.random.SeedGenerator):
    """The seed that the stream has for a batch, in the form in which `keras.random` takes a tensor."""

    def __init__(self, seed):
        self.seed = seed

    def next(self, ordered=True):
        """The seed, each time."""
        return self.seed


def hand_over(machine: RestrictedBoltzmann, layer: keras.layers.Dense, pixels: Bundle | None) -> None:
    """Gives a layer the hidden half of its machine.

    Args:
        machine: trained.
        layer: of as many units.
        pixels: for a layer that sees standardised pictures, the bundle whose statistics they are standardised by. With
            x = (v - mean) / deviation, v·W + c = x·(deviation W) + (c + mean·W).
    """
    kernel, bias = machine.kernel.numpy(), machine.bias.numpy()
    if pixels is not None:
        places = len(kernel) // len(pixels.mean)
        mean, deviation = (np.tile(values, places) for values in (pixels.mean, pixels.deviation))
        kernel, bias = deviation[:, None] * kernel, bias + mean @ kernel
    layer.set_weights([kernel, bias])


def free_energy_gap(pupil: Pupil, bundle: Bundle, batch_size: int) -> Callable[[], float]:
    """A function that says how much likelier the machine finds training pictures than as many that it never saw.

    Free energies are known but for a constant, which the difference of two means has not.
    """
    size = min(len(bundle.train), len(bundle.validation))
    spread = np.linspace(0, len(bundle.train) - 1, size).round().astype(int)
    trained, unseen = (
        evaluation_stream(examples, bundle, batch_size=batch_size)
        for examples in (bundle.train.take(spread), bundle.validation)
    )

    def mean_energy(stream) -> float:
        energies = [ops.convert_to_numpy(pupil.machine(pupil.look(pictures))) for pictures, _ in stream]
        return float(np.mean(np.concatenate(energies), dtype=np.float64))

    return lambda: mean_energy(unseen) - mean_energy(trained)


class MomentumChange(keras.callbacks.Callback):
    """Sets the optimizer's momentum once so many epochs are over."""

    def __init__(self, epochs: int, momentum: float):
        super().__init__()
        self.epochs, self.momentum = epochs, momentum

    def on_epoch_begin(self, epoch, logs=None):
        """At the first epoch that it holds for."""
        if epoch == self.epochs:
            self.model.optimizer.momentum = self.momentum
            self.model.make_train_function(force=True)  # The traced step holds the old momentum as a constant.


class Record(keras.callbacks.Callback):
    """Writes each epoch's reconstruction error and free-energy gap, and ends a training that broke.

    Args:
        name: the layer's.
        tracker: where the record goes.
        epochs: how many there will be.
        gap: gives the free-energy gap.

    Raises:
        TrainingError: the loss is no number any more.
    """

    def __init__(self, name: str, tracker: Tracker, epochs: int, gap: Callable[[], float]):
        super().__init__()
        self.name, self.tracker, self.epochs, self.gap = name, tracker, epochs, gap
        self.history: dict[str, list[float]] = {}
        self._epoch = 0
        self._looked = self._spoken = time.perf_counter()

    def on_epoch_begin(self, epoch, logs=None):
        """Notes which it is."""
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch, logs=None):
        """Looks at the loss twice a second, and breaks the log's silence once a minute."""
        now = time.perf_counter()
        if now - self._looked > LOOK_SECONDS:
            self._looked = now
            self._look(logs["loss"])
        if now - self._spoken > LINE_SECONDS:
            self._spoken = now
            log.info("%s  epoch %d/%d  step %d", self.name, self._epoch, self.epochs, batch + 1)

    def on_epoch_end(self, epoch, logs=None):
        """The epoch's two numbers."""
        self._look(logs["loss"])
        error, gap = float(logs["reconstruction_error"]), self.gap()
        record = {
            f"pretrain/{self.name}/reconstruction_error": error,
            f"pretrain/{self.name}/free_energy_gap": gap,
        }
        for key, value in record.items():
            self.history.setdefault(key, []).append(value)
        self.tracker.metrics(record, step=epoch + 1)
        self._spoken = time.perf_counter()
        log.info(
            "%s  epoch %d/%d  reconstruction error %.5f  free-energy gap %.2f",
            self.name, epoch + 1, self.epochs, error, gap,
        )  # fmt: skip

    def _look(self, loss):
        if not math.isfinite(float(loss)):
            raise TrainingError(
                f"pre-training of {self.name}: the loss became {float(loss)} in epoch {self._epoch}: "
                f"lower model.pretrain.learning_rate ({learning_rate(self.model.optimizer):g} now)"
            )
