"""What the fixed sections work out by themselves."""

import pytest

from kerasnn.config import schema
from kerasnn.config.compose import compose
from kerasnn.config.schema import Strategy, Trainer, check_shares, check_strategy
from kerasnn.errors import ConfigError


@pytest.mark.parametrize(
    ("scaling", "batch", "factor"),
    [
        ("none", 512, 1.0),
        ("linear", 512, 4.0),  # Four times the batch, four times the rate.
        ("sqrt", 512, 2.0),  # The root of four.
        ("linear", 32, 0.25),
        ("sqrt", 128, 1.0),
    ],
)
def test_rate_factor_follows_the_batch(scaling, batch, factor):
    assert Trainer(batch_size=batch, learning_rate_scaling=scaling).rate_factor == factor


def test_rate_factor_is_relative_to_the_base():
    # Goyal 2017: 0.1 for 256, so 8,192 takes 32 times as much.
    assert Trainer(batch_size=8192, base_batch_size=256, learning_rate_scaling="linear").rate_factor == 32


@pytest.mark.parametrize(
    ("batch", "devices", "sizes"),
    [(128, 3, "take 126 or 129"), (100, 8, "take 96 or 104"), (2, 4, "take 4")],
)
def test_batch_that_does_not_divide_is_told_the_next_that_does(batch, devices, sizes):
    with pytest.raises(ConfigError, match=f"trainer.batch_size={batch} cannot be shared by {devices} devices: {sizes}"):
        check_shares(batch, devices)


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (Strategy("mirrored", communication="ring"), "=ring is not for strategy=mirrored: known: auto, nccl, hierarch"),
        (
            Strategy("multi_worker", communication="hierarchical_copy"),
            "is not for strategy=multi_worker: known: auto, ",
        ),
        (
            Strategy("single", communication="nccl"),
            "strategy.communication=nccl is not for strategy=single: known: auto",
        ),
        (Strategy("mirrored", tpu="grpc://a:1"), "strategy.tpu=grpc://a:1 needs strategy=tpu: choose it"),
    ],
)
def test_strategy_that_means_nothing_is_one_line(strategy, message):
    with pytest.raises(ConfigError, match=message):
        check_strategy(strategy)


def test_every_way_of_communication_is_some_strategys():
    ways = {way for known in schema.COMMUNICATIONS.values() for way in known}
    assert ways == {"auto", "nccl", "hierarchical_copy", "ring"}


def test_hash_does_not_ask_on_what_a_training_runs():
    words = ["model=mlp", "strategy=multi_worker", "strategy.workers=[a:1,b:1]"]
    one, other = compose([*words, "strategy.index=0"]), compose([*words[:2], "strategy.workers=[c:1,d:1]"])
    assert one.strategy.workers == ["a:1", "b:1"]
    assert one.digest == other.digest == compose(["model=mlp", "strategy.devices=2", "strategy.kind=GPU"]).digest
    # Statistics of each replica's own share are other numbers.
    assert one.digest != compose([*words[:2], "strategy.synchronise_batch_norm=false"]).digest
