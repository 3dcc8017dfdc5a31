"""The scaling benchmark runs and does its sums right; how fast anything is, is no business of a test."""

import json
import subprocess
import sys

import pytest


@pytest.fixture
def scaling(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    import scaling

    return scaling


def test_rates_become_speed_up_and_efficiency(scaling):
    # Medians 100, 180 and 300: 1.8 times one replica is 90 % of twice, 3 times is 75 % of four times.
    lines = scaling.rates_table({1: [90.0, 100.0, 110.0], 4: [300.0], 2: [180.0]}).splitlines()
    assert lines[2:] == [
        "| 1 | 100 (90–110) | 1.00 | 100% |",
        "| 2 | 180 (180–180) | 1.80 | 90% |",
        "| 4 | 300 (300–300) | 3.00 | 75% |",
    ]


def test_costs_become_milliseconds_and_what_passes_through_a_replica(scaling):
    # The median of 1, 2 and 9 ms is 2 ms. Of 4 MB = 4,194,304 bytes over two replicas, 2 · 1/2 of them pass: 2.1 GB/s.
    # Over four, 2 · 3/4 in 1 ms: 6,291,456 bytes, 6.3 GB/s.
    costs = {("ring", 2): [{2**22: 0.001}, {2**22: 0.009}, {2**22: 0.002}], ("nccl", 4): [{2**22: 0.001}]}
    assert scaling.costs_table(costs).splitlines() == [
        "| all-reduce of | ring, 2 | nccl, 4 |",
        "| ---: | ---: | ---: |",
        "| 4 MB | 2.00 ms, 2.1 GB/s | 1.00 ms, 6.3 GB/s |",
    ]


def test_benchmark_measures_replicas_and_all_reduces(root, tmp_path):
    record = tmp_path / "scaling.json"
    options = ["--quick", "--model", "mlp", "--replicas", "1", "2", "--ways", "ring", "--json", str(record)]
    command = [sys.executable, str(root / "benchmarks" / "scaling.py"), *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    facts = json.loads(record.read_text())
    assert set(facts["examples_per_second"]) == {"1", "2"}
    assert all(rate > 0 for rates in facts["examples_per_second"].values() for rate in rates)
    (told,) = facts["all_reduce"]
    assert (told["way"], told["replicas"]) == ("ring", 2)
    (seconds,) = told["seconds"]
    assert list(map(int, seconds)) == [2**10, 2**14, 2**18]  # 1 KB, 16 KB, 256 KB
    assert min(seconds.values()) > 0
    for words in ("| replicas |", "| all-reduce of | ring, 2 |", "| 256 KB |", "replicas on CPUs"):
        assert words in done.stdout
