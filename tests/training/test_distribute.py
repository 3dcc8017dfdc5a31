"""Devices, and the promise that their number changes nothing but the time."""

from functools import cache
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasnn.config.schema import Strategy
from kerasnn.errors import ConfigError, DeviceError
from kerasnn.training import distribute
from kerasnn.training.cluster import Cluster
from kerasnn.training.distribute import Devices, open_devices

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(70, 8, 8, 3)).astype("float32")
LABELS = RNG.integers(0, 4, 70).astype("int32")


def build():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=False)(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    return keras.Model(inputs, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x)))


@cache
def train(replicas: int):
    """Losses, weights, evaluation and predictions after two epochs of three batches of 20, validated on 70 examples."""
    devices = open_devices(Strategy("mirrored", devices=replicas))
    keras.utils.set_random_seed(1)
    with devices.scope():
        model = build()
        distribute.synchronise_batch_norm(model, devices)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, jit_compile=False)
    batches = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(20, drop_remainder=True).repeat()
    # 70 = 3 * 20 + 10: the last evaluation batch is short; of 4 replicas two take 5 of it each, and two take none.
    everything = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(20)
    history = model.fit(
        batches, epochs=2, steps_per_epoch=3, validation_data=everything, shuffle=False, verbose=0
    ).history
    return history["loss"], history["val_loss"], model.predict(everything, verbose=0), model.get_weights()


@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_agree_with_one_batch_norm_included(replicas):
    for one, many in zip(train(1)[:3], train(replicas)[:3], strict=True):
        np.testing.assert_allclose(many, one, atol=1e-5)


@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_leave_the_same_weights_and_statistics(replicas):
    for one, many in zip(train(1)[3], train(replicas)[3], strict=True):
        np.testing.assert_allclose(many, one, atol=1e-5)


def test_evaluation_counts_each_example_once():
    _, val_loss, predictions, _ = train(1)
    by_hand = keras.ops.mean(keras.losses.sparse_categorical_crossentropy(LABELS, predictions, from_logits=True))
    assert val_loss[-1] == pytest.approx(float(by_hand), abs=1e-5)


def test_auto_is_one_cpu_without_a_gpu():
    devices = open_devices(Strategy())
    assert (str(devices), devices.count) == ("1 CPU", 1)


def test_auto_mirrors_when_several_devices_are_asked_for():
    devices = open_devices(Strategy(devices=2))
    assert devices.strategy.num_replicas_in_sync == 2
    assert str(devices) == "2 CPUs"


def test_single_refuses_several_devices():
    with pytest.raises(ConfigError, match="strategy=single has one device, received strategy.devices=2"):
        open_devices(Strategy("single", devices=2))


def test_more_cpu_devices_than_the_process_has_is_one_line():
    with pytest.raises(DeviceError, match="strategy.devices=8, but this process already runs TensorFlow with 4 CPU"):
        open_devices(Strategy("mirrored", devices=8))


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (Strategy("tpu"), "strategy=tpu, but TensorFlow sees no TPU on this machine: run on a TPU VM with the package"),
        (Strategy("tpu", tpu="grpc://127.0.0.1:9"), "strategy.tpu=grpc://127.0.0.1:9 does not answer"),
        (Strategy(kind="GPU"), "strategy.kind=GPU, but TensorFlow sees no GPU: "),
        (
            Strategy("mirrored", devices=2, communication="nccl"),
            "strategy.communication=nccl needs GPUs, and there are",
        ),
        (
            Strategy("multi_worker", workers=["127.0.0.1:9"], index=0),
            "needs a process in which TensorFlow has not begun",
        ),
    ],
)
def test_hardware_that_is_not_there_is_one_line(strategy, message):
    tf.zeros(())  # TensorFlow has begun.
    with pytest.raises(DeviceError, match=message) as raised:
        open_devices(strategy)
    assert "\n" not in str(raised.value)


def test_address_that_is_none_is_one_line():
    with pytest.raises(ConfigError, match="strategy.tpu=my-tpu is no address: give strategy.tpu=grpc://HOST:8470"):
        open_devices(Strategy("tpu", tpu="my-tpu"))


def test_hierarchical_copies_refuse_an_odd_number():
    # TensorFlow 2.21 makes two groups of 3 // 2 = 1 device, and leaves out the gradient of the third.
    with pytest.raises(ConfigError, match="hierarchical_copy needs an even number of devices, and there are 3"):
        open_devices(Strategy("mirrored", devices=3, communication="hierarchical_copy"))


def test_replicas_agree_by_copies_too():
    devices = open_devices(Strategy("mirrored", devices=2, communication="hierarchical_copy"))
    total = devices.strategy.run(lambda: tf.distribute.get_replica_context().all_reduce("sum", tf.constant(1.5)))
    assert [float(value) for value in devices.strategy.experimental_local_results(total)] == [3.0, 3.0]


@pytest.mark.parametrize(
    ("asked", "kind", "count", "expected"),
    [
        ("auto", "CPU", 1, False),
        ("auto", "CPU", 2, False),
        ("auto", "GPU", 1, True),
        ("auto", "GPU", 2, False),
        (True, "CPU", 1, True),
        (True, "GPU", 1, True),
        (False, "GPU", 2, False),
        (False, "GPU", 1, False),
    ],
)
def test_use_jit_follows_the_measurements(asked, kind, count, expected):
    assert distribute.use_jit(asked, Devices(kind, count, strategy=None)) is expected


@pytest.mark.parametrize("kind", ["CPU", "GPU"])
def test_xla_is_refused_with_several_replicas(kind):
    with pytest.raises(
        ConfigError, match="trainer.jit=true needs one device, and there are 2, with which XLA may hang"
    ):
        distribute.use_jit(True, Devices(kind, 2, strategy=None))


def test_evaluation_batch_leaves_no_replica_on_a_cpu_without_an_example():
    two = Devices("CPU", 2, None)
    # 75 = 3 * 24 + 3: the first replica takes up to 12 of a batch, and all of those 3; 22 leaves 9 of 11 likewise.
    # 75 = 3 * 20 + 15: ten for the first, five for the second.
    assert two.evaluation_batch(75, 24) == 20
    # 144 = 128 + 16, and every batch of 96 or more leaves at most 48, which is one replica's share or less.
    # 144 = 94 + 50: the first takes 47, and the second 3.
    assert two.evaluation_batch(144, 128) == 94
    # 48 = 2 * 24 leaves nothing over, and 47 = 24 + 23 leaves the second 11 of its 12.
    assert (two.evaluation_batch(48, 24), two.evaluation_batch(47, 24)) == (24, 24)
    # Of eight with 3 rows each the last gets what is over 7 * 3 = 21: 70 = 2 * 24 + 22 leaves it one.
    assert Devices("CPU", 8, None).evaluation_batch(70, 24) == 24
    # Nothing can be shared of a single example, and nothing fails with one device, or without oneDNN.
    assert two.evaluation_batch(1, 24) == 24
    assert Devices("CPU", 1, None).evaluation_batch(75, 24) == 24
    assert Devices("GPU", 2, None).evaluation_batch(75, 24) == 24


class Cards:
    """What TensorFlow has of so many cards; `started` says how many of them it runs with already."""

    def __init__(self, count, started=None):
        self.all = [f"card {number}" for number in range(count)]
        self.visible, self.growing, self.started = self.all[:started], [], started

    def list_physical_devices(self, kind):
        return self.all if kind == "GPU" else ["cpu"]

    def get_visible_devices(self, kind):
        return self.visible

    def set_visible_devices(self, cards, kind):
        if self.started is not None and cards != self.visible:
            raise RuntimeError("Visible devices cannot be modified after being initialized")
        self.visible = cards

    @property
    def experimental(self):
        return SimpleNamespace(set_memory_growth=lambda card, on: self.growing.append(card))


@pytest.mark.parametrize(
    ("strategy", "count"), [(Strategy("single"), 1), (Strategy("mirrored", devices=2), 2), (Strategy(), 8)]
)
def test_cards_that_a_run_does_not_use_are_left_to_others(strategy, count, monkeypatch):
    cards = Cards(8)
    monkeypatch.setattr(distribute.tf, "config", cards)
    assert distribute._claim(strategy) == ("GPU", count)
    assert cards.visible == cards.growing == cards.all[:count]


def test_a_run_may_use_fewer_cards_than_the_one_before_it_but_not_more(monkeypatch):
    monkeypatch.setattr(distribute.tf, "config", Cards(8, started=2))
    assert distribute._claim(Strategy("mirrored", devices=1)) == ("GPU", 1)
    with pytest.raises(DeviceError, match="strategy.devices=4, but this process already runs TensorFlow with 2 GPU"):
        distribute._claim(Strategy("mirrored", devices=4))


def test_failing_tpu_is_one_short_line(monkeypatch):
    def fail(address):
        raise tf.errors.InternalError(None, None, "\n\tno such slice\n" + "at line 1\n" * 100)

    monkeypatch.setattr(distribute, "_check_reachable", lambda *_: None)
    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", fail)
    with pytest.raises(DeviceError, match=r"grpc://a:1 has no TPU that answers: no such slice at line 1") as raised:
        open_devices(Strategy("tpu", tpu="grpc://a:1"))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


def test_each_worker_takes_its_own_rows_of_every_batch():
    class Undistributed:
        """Gives back what TensorFlow would distribute."""

        def distribute_datasets_from_function(self, make):
            return make(None)

    # 23 examples in batches of 12 are 12 and 11; 3 workers of 2 replicas each take 2 rows per replica.
    stream = tf.data.Dataset.from_tensor_slices((np.arange(23), np.arange(23) * 10)).batch(12)
    addresses = ("a:1", "b:1", "c:1")
    seen = []
    for index in range(3):
        devices = Devices("GPU", 6, Undistributed(), Cluster(addresses, index))
        pieces = [(list(map(int, x)), list(map(int, y))) for x, y in devices.share(stream, 12)]
        assert all(y == [10 * number for number in x] for x, y in pieces)
        seen.append([x for x, _ in pieces])
    assert seen == [
        [[0, 1], [2, 3], [12, 13], [14, 15]],
        [[4, 5], [6, 7], [16, 17], [18, 19]],
        [[8, 9], [10, 11], [20, 21], [22]],
    ]


def test_a_process_alone_takes_the_whole_stream():
    stream = tf.data.Dataset.range(4).batch(2)
    assert open_devices(Strategy()).share(stream, 2) is stream


def test_steps_per_call_divide_an_epoch_and_stay_short():
    one, two = Devices("CPU", 1, None), Devices("CPU", 2, None)
    light, heavy = 107_000_000, 85_000_000_000  # LeNet-5 and VGG-16 over 128 pictures of 32×32.
    assert distribute.steps_per_call(200, light, one) == 10
    assert distribute.steps_per_call(351, light, one) == 9  # 351 = 27 × 13, and 13 is beyond ten.
    assert distribute.steps_per_call(421, light, one) == 1  # A prime.
    assert distribute.steps_per_call(10, light, one) == 5  # Half an epoch: the other half is timed.
    assert distribute.steps_per_call(200, 3_000_000_000, one) == 2  # Three would be 9 of 10 GFLOP, and divide nothing.
    assert distribute.steps_per_call(200, heavy, one) == 1
    assert distribute.steps_per_call(200, light, two) == 1
