"""Why there is no GPU: each reason from facts that have just that fault, and the facts from a made-up `nvidia-smi`."""

from dataclasses import replace

import pytest

from kerasnn.training import gpu, nvidia
from kerasnn.training.gpu import Facts
from kerasnn.training.nvidia import Card

H100 = Card("NVIDIA H100 80GB HBM3", "81559 MiB", "550.54.15", "9.0")
K80 = Card("Tesla K80", "11441 MiB", "470.256.02", "3.7")
# A machine on which nothing is wrong: no reason is known why TensorFlow should not see its cards.
WELL = Facts(cards=(H100, H100), cuda="12.5.1", capabilities=("sm_60", "sm_70", "sm_80", "sm_89", "compute_90"))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cards": (), "smi": "absent"}, "no NVIDIA driver: nvidia-smi is not installed"),
        ({"cards": (), "smi": "absent", "container": True}, "start it with --gpus all"),
        ({"cards": (), "smi": "couldn't communicate with the driver"}, "does not answer: nvidia-smi says: couldn't"),
        ({"cards": ()}, "nvidia-smi lists no GPU"),
        ({"visible": ""}, "CUDA_VISIBLE_DEVICES='' hides every GPU (there are 2, numbered from 0): unset it"),
        ({"visible": "-1"}, "CUDA_VISIBLE_DEVICES='-1' hides every GPU"),
        ({"visible": "2,0"}, "CUDA_VISIBLE_DEVICES='2,0' hides every GPU"),  # CUDA stops at the first unknown number.
        ({"cuda": None}, "this TensorFlow is built without CUDA"),
        ({"absent": ("nvidia-cudnn-cu12",)}, "not installed (nvidia-cudnn-cu12): pip install 'kerasnn[gpu]'"),
        ({"absent": ("a", "b", "c", "d")}, "CUDA's libraries are not installed (a, b and 2 more)"),
        ({"cards": (replace(H100, driver="470.82.01"),)}, "driver 470.82.01 is too old for the CUDA 12.5.1"),
        ({"cards": (replace(K80, driver="550.54.15"),)}, "Tesla K80 (compute capability 3.7) is older than"),
        ({"system": "Darwin"}, "on Linux only, and this is Darwin"),
        ({}, "for no reason that is known here: TF_CPP_MIN_LOG_LEVEL=0"),
    ],
)
def test_reason_is_the_fault(changes, reason):
    (said,) = gpu.why_no_gpu(replace(WELL, **changes))
    assert reason in said
    assert "\n" not in said


@pytest.mark.parametrize("visible", [None, "0", "1,0", "0,7", "GPU-8932f937", "MIG-8932f937"])
def test_what_names_a_gpu_hides_none(visible):
    assert not gpu.is_hidden(replace(WELL, visible=visible))


def test_all_reasons_are_told_the_first_to_mend_first():
    facts = replace(WELL, cards=(K80,), visible="", absent=("nvidia-cublas-cu12",))
    hidden, libraries, driver, card = gpu.why_no_gpu(facts)
    assert "hides" in hidden
    assert "not installed" in libraries
    # CUDA 12 needs 525.60 at least, for any of its releases; 470 is CUDA 11's.
    assert "install 525.60 or newer" in driver
    assert "compute capability 3.7" in card


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (replace(WELL, cuda=None), "this TensorFlow is built without CUDA"),
        (replace(WELL, cuda=None, visible="-1"), None),  # Somebody decided so.
        (Facts(smi="absent", cuda="12.5.1"), None),  # There is none.
    ],
)
def test_gpu_that_is_there_and_not_seen_is_told(monkeypatch, facts, reason):
    monkeypatch.setattr(gpu, "look", lambda build: facts)
    said = gpu.unseen_gpu({})
    assert said is None if reason is None else reason in said


def test_hiding_is_no_fault_where_there_is_nothing_to_hide():
    assert not gpu.is_hidden(Facts(smi="absent", visible="-1", cuda="12.5.1"))
    assert gpu.is_hidden(replace(WELL, visible="-1"))


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """Puts a `nvidia-smi` of our own, a shell script, before everything else."""

    def install(script: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return install


def test_look_reads_the_table_of_nvidia_smi(smi, monkeypatch):
    smi(
        "[ $1 = --query-gpu=name,memory.total,driver_version,compute_cap ] || exit 9\n"
        "echo 'NVIDIA H100 80GB HBM3, 81559 MiB, 550.54.15, 9.0'\n"
        "echo 'Tesla K80, 11441 MiB, 470.256.02, 3.7'"
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    build = {"is_cuda_build": True, "cuda_version": "12.5.1", "cuda_compute_capabilities": ["sm_60", "compute_90"]}
    facts = gpu.look(build)
    assert facts.cards == (H100, K80)
    assert (facts.smi, facts.visible, facts.cuda) == ("", "1", "12.5.1")
    assert facts.capabilities == ("sm_60", "compute_90")


def test_every_reader_of_the_tool_hears_what_hinders_it(smi):
    smi("echo 'GPU 0: NVIDIA H100 (UUID: GPU-8932f937)'")
    assert nvidia.uuids() == ({"GPU-8932f937": "0"}, "")
    smi("echo 'NVML: Driver/library version mismatch' >&2; exit 18")
    assert nvidia.uuids() == ({}, "NVML: Driver/library version mismatch")
    assert nvidia.cards() == ((), "NVML: Driver/library version mismatch")


def test_look_keeps_what_a_failing_nvidia_smi_says(smi):
    smi("echo 'NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.'; exit 9")
    facts = gpu.look({"is_cuda_build": False})
    assert facts.cards == ()
    assert facts.smi.startswith("NVIDIA-SMI has failed")
    assert facts.cuda is None


def test_error_line_is_the_first_reason_and_the_way_to_the_rest(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gpu, "in_container", lambda: False)
    monkeypatch.setattr(gpu.platform, "system", lambda: "Linux")
    said = gpu.no_gpu({"is_cuda_build": True, "cuda_version": "12.5.1"})
    assert said == "no NVIDIA driver: nvidia-smi is not installed; python -m kerasnn doctor tells more"
