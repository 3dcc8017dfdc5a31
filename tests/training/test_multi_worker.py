"""Several processes train one network: equal to one process, and in order when one of them dies.

pytest tests/training/test_multi_worker.py        # alone; about ten processes of TensorFlow, two or three at a time
"""

import json
import shutil
import subprocess
from contextlib import contextmanager

import numpy as np
import pytest
from workers import SCALED, TRAINING, free_addresses, history, only_run, start, weights

EPOCHS = ("trainer.epochs=4", "trainer.steps_per_epoch=5", *SCALED)
ROOM = "kerasnn-test"  # Of the network namespaces, which the kernel knows by name.


def train(folder, count, *overrides):
    """Trains with so many workers to the end; the output of each."""
    addresses = free_addresses(count)
    workers = [start(folder, addresses, index, *TRAINING, *overrides) for index in range(count)]
    for worker in workers:
        assert worker.end() == 0, worker.text
    return workers


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run of a single process."""
    folder = tmp_path_factory.mktemp("alone")
    train(folder, 1, *EPOCHS)
    return only_run(folder)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder of two workers that nothing disturbs."""
    folder = tmp_path_factory.mktemp("two")
    train(folder, 2, *EPOCHS)
    return folder


def check_equal(run, other):
    mine, theirs = history(run), history(other)
    assert mine.keys() == theirs.keys() >= {"train/loss", "val/loss", "val/accuracy", "test/loss"}
    for name, values in mine.items():
        np.testing.assert_allclose(values, theirs[name], atol=1e-5, err_msg=name)
    for one, many in zip(weights(run), weights(other), strict=True):
        np.testing.assert_allclose(many, one, atol=1e-5)


def test_two_workers_equal_one_process(alone, two):
    check_equal(alone, only_run(two))


def test_learning_rate_follows_the_batch(two):
    # Linearly, from 0.01 at a batch of 128, whatever the number of workers: 0.01 * 60 / 128 = 0.0046875.
    result = json.loads((only_run(two) / "result.json").read_text(encoding="utf-8"))
    assert result["history"]["train/learning_rate"] == pytest.approx([0.0046875] * 4)
    assert "learning rate 0.0046875: linear with the batch, 60 instead of 128" in (two / "worker0.txt").read_text()


def test_three_workers_equal_one_process_and_the_chief_alone_leaves_anything(alone, tmp_path):
    addresses = free_addresses(3)
    folders = [tmp_path / name for name in ("chief", "second", "third")]
    workers = [start(folder, addresses, index, *TRAINING, *EPOCHS) for index, folder in enumerate(folders)]
    assert [worker.end() for worker in workers] == [0, 0, 0], [worker.text for worker in workers]
    check_equal(alone, only_run(folders[0]))
    # Of the others there is nothing but what the test itself put there: the plug-in, and the terminal's lines.
    for index in (1, 2):
        assert {path.name for path in folders[index].iterdir()} == {"site", f"worker{index}.txt"}
        assert "epoch 4/4" in workers[index].text


def test_killed_worker_is_named_and_the_restarted_job_ends_as_an_undisturbed_one(two, tmp_path):
    words = (*TRAINING, *EPOCHS, "callbacks.stop._target_=small.stop", "resume=auto")
    addresses = free_addresses(2)
    workers = [start(tmp_path, addresses, 0, *words), start(tmp_path, addresses, 1, *words, STOP="1")]
    workers[1].wait_for("stands still")
    workers[1].kill()
    assert workers[0].end(120) == 1
    assert workers[0].lines == [f"kerasnn: worker 1 ({addresses[1]}) is gone: its process ended without a word"]
    run = only_run(tmp_path)
    assert len(history(run)["val/loss"]) == 2  # The third epoch was cut off.

    again = [start(tmp_path, addresses, index, *words) for index in (0, 1)]
    assert [worker.end() for worker in again] == [0, 0], [worker.text for worker in again]
    assert "epoch 2/4" not in again[0].text
    assert only_run(tmp_path) == run
    assert history(run) == history(only_run(two))
    for resumed, undisturbed in zip(weights(run), weights(only_run(two)), strict=True):
        np.testing.assert_array_equal(resumed, undisturbed)


@contextmanager
def hosts(count):
    """So many hosts in network namespaces of their own, on one bridge; yields words to enter them, and addresses."""
    names = [f"{ROOM}{number}" for number in range(count)]

    def ip(*words, check=True):
        return subprocess.run(["ip", *words], capture_output=True, text=True, check=check)

    try:
        try:
            ip("netns", "add", ROOM)
            ip("-n", ROOM, "link", "add", "bridge0", "type", "bridge")
            ip("-n", ROOM, "link", "set", "bridge0", "up")
            for number, name in enumerate(names):
                ip("netns", "add", name)
                ip("-n", ROOM, "link", "add", f"port{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
                ip("-n", ROOM, "link", "set", f"port{number}", "master", "bridge0", "up")
                ip("-n", name, "addr", "add", f"10.77.0.{number + 1}/24", "dev", "eth0")
                ip("-n", name, "link", "set", "eth0", "up")
                ip("-n", name, "link", "set", "lo", "up")
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no network namespaces here: {(getattr(error, 'stderr', None) or str(error)).strip()}")
        yield [("ip", "netns", "exec", name) for name in names], [f"10.77.0.{n + 1}:12345" for n in range(count)], ip
    finally:
        for name in (ROOM, *names) if shutil.which("ip") else ():
            ip("netns", "delete", name, check=False)


def test_hosts_of_their_own_train_and_a_cut_link_is_noticed(tmp_path):
    with hosts(2) as (rooms, addresses, ip):
        # The same time is how far apart two processes may start, on cores that others use too.
        settings = (*TRAINING, "trainer.epochs=4000", "strategy.timeout_seconds=20")
        workers = [start(tmp_path, addresses, index, *settings, before=rooms[index]) for index in (0, 1)]
        workers[0].wait_for("epoch 2/4000")
        ip("-n", ROOM, "link", "set", "port1", "down")  # No packet says so: the link is silent from here on.
        assert [worker.end() for worker in workers] == [1, 1], [worker.text for worker in workers]
        assert workers[0].lines == [f"kerasnn: worker 1 ({addresses[1]}) has not answered for 20 s"]
        assert workers[1].lines == [f"kerasnn: worker 0 ({addresses[0]}) has not answered for 20 s"]


def test_worker_that_never_appears_ends_the_job_with_its_name(tmp_path):
    addresses = free_addresses(2)
    worker = start(tmp_path, addresses, 0, *TRAINING, "strategy.timeout_seconds=2")
    assert worker.end(90) == 2
    assert len(worker.lines) == 1
    assert worker.lines[0].startswith(f"kerasnn: worker 1 ({addresses[1]}) did not appear within 2 s")
