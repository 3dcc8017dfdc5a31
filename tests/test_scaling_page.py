"""What docs/scaling.md works out is so: its table is the script's, a row is done by hand, and counts are the zoo's."""

import runpy
from pathlib import Path

import pytest

from kerasnn.models.catalogue import CATALOGUE

SCRIPT = Path(__file__).resolve().parents[1] / "docs" / "scaling.py"
PAGE = SCRIPT.with_suffix(".md")
TEXT = PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def scaling():
    return runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def networks(scaling):
    return {network.name: network for network in scaling["read"](TEXT)}


def row(name):
    (line,) = (line for line in TEXT.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_page_is_what_the_script_writes(scaling, networks):
    assert scaling["written"](TEXT, list(networks.values())) == TEXT


def test_every_network_stands_there_by_year_with_the_published_count(networks):
    assert set(networks) == set(CATALOGUE)
    assert [CATALOGUE[name].year for name in networks] == sorted(CATALOGUE[name].year for name in networks)
    assert {name: network.parameters for name, network in networks.items()} == {
        name: entry.params_published for name, entry in CATALOGUE.items()
    }


@pytest.mark.parametrize("name", ["lenet5", "vgg16", "resnet50", "gpt3"])
def test_what_the_page_counted_is_what_is_counted_now(scaling, networks, name):
    assert scaling["counted"](name, CATALOGUE[name]) == networks[name]


def test_row_of_resnet50_by_hand():
    _, parameters, flops, batch, gradient, step, *cells = row("resnet50")
    # 25,557,032 parameters of 4 bytes are 102 MB. A step is three times 128 forward passes of 7.716 GFLOPs (3.86
    # billion multiply-adds), so 2.963 TFLOPs; at 0.4 · 989 = 395.6 TFLOP/s they take 7.49 ms.
    assert (parameters, flops, batch, gradient) == ("25,557,032", "7,715,946,496", "128", "102 MB")
    assert step == "7.49 ms"
    # Eight GPUs: 2 · 7/8 · 102.2 MB / 450 GB/s = 0.398 ms, and 14 messages of 3 µs, 0.042 ms: 0.440 ms.
    # 7.49 / (7.49 + 0.44) = 94 %; the backward pass, 4.99 ms, hides all of it.
    assert cells[0] == "94 / 100"
    # 64 GPUs over 10 GbE: 2 · 63/64 · 102.2 MB / 1.25 GB/s = 161.0 ms; beside that 0.042 ms in the node and up and down
    # a tree of eight nodes, 2 · 3 · 30 µs = 0.18 ms, are little: 161.2 ms.
    # 7.49 / (7.49 + 161.2) = 4 %. Overlap hides 4.99 ms: 7.49 / (7.49 + 156.2) = 5 %.
    assert cells[3] == "4 / 5"
    assert len(cells) == 7


def test_network_that_does_not_fit_a_gpu_has_no_efficiency(networks):
    # 16 bytes for each of 174.6 billion parameters are 2,794 GB; the 80 GB of an H100 are enough for 5 billion.
    assert row("gpt3")[6] == "does not fit: 2,794 GB"
    assert row("gpt3")[7:] == [""] * 6
    unfit = {name for name, network in networks.items() if network.parameters > 5e9}
    assert unfit == {name for name in networks if row(name)[6].startswith("does not fit")}
    assert {"gpt3", "gpt3_13b", "gpt3_6_7b"} <= unfit


def test_limits_are_as_they_must_be(scaling, networks):
    efficiency, link = scaling["efficiency"], scaling["INFINIBAND"]
    for network in networks.values():
        plain = [efficiency(network, gpus, link, overlap=False) for gpus in (8, 64, 512)]
        hidden = [efficiency(network, gpus, link, overlap=True) for gpus in (8, 64, 512)]
        assert plain == sorted(plain, reverse=True)  # More replicas never make adding up cheaper.
        assert all(0 < one <= other <= 1 for one, other in zip(plain, hidden, strict=True))


def test_prose_quotes_the_table(networks):
    # FLOPs per parameter and picture, and the percent lost on eight GPUs, in the order of the sentence.
    named = [networks[name] for name in ("alexnet", "vgg16", "resnet50", "efficientnet_b7")]
    assert [f"{network.flops / network.parameters:,.0f}" for network in named] == ["24", "224", "302", "1,138"]
    assert [100 - int(row(network.name)[6].split(" / ")[0]) for network in named] == [41, 7, 6, 1]


def test_prose_quotes_the_constants(scaling):
    for link in scaling["NETWORKS"] + (scaling["NVLINK"],):
        assert f"{link.bytes_per_second / 1e9:g} GB/s | {link.hop_seconds * 1e6:.0f} µs |" in TEXT, link.name
    assert f"{scaling['PEAK_FLOPS'] / 1e12:.0f} TFLOP/s" in TEXT
    assert f"{100 * scaling['ATTAINED']:.0f} %" in TEXT
    assert f"{scaling['PICTURES']} pictures or {scaling['SEQUENCES']} full sequences" in TEXT
