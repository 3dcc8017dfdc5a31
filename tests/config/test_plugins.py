"""Packages of somebody else's: the one in examples/plugin, built and installed, and some that are damaged or rude."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "plugin"

# Runs command lines one after the other in one process, and tells what each answered and what was imported in all.
LIGHT = """
import contextlib, io, json, sys
from kerasnn.cli import main
answers = []
for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    answers.append((code, out.getvalue(), err.getvalue()))
print(json.dumps([answers, sorted(sys.modules)]))
"""

# The plug-in's own tests, then whole trainings: TensorFlow is imported once for all of it.
HEAVY = """
import json, sys, pytest
from kerasnn.cli import main
from kerasnn.tracking import spool
from kerasnn.tracking.tracker import MemoryTracker
from kerasnn.training.lean_import import import_keras
import_keras()
tracker = MemoryTracker()
spool.open_tracker = lambda *place: tracker
codes = [int(pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir", sys.argv[1], sys.argv[1]]))]
smoke = ["tracking=none", "trainer.epochs=1", "data.examples=100", "trainer.batch_size=16"]
codes.append(main(["experiment=tiny_mixer_checkerboards", "model.depth=1", "model.width=16", *smoke]))
print("tags", json.dumps({key: value for key, value in tracker.tagged.items() if key.startswith("plugin.")}))
codes.append(main(["model=needy", "data=checkerboards", *smoke]))
print("codes", codes)
"""

# What a package of somebody else's may get wrong: file, content.
RUDE = {
    "rude/__init__.py": "",
    "rude/models.py": "import os\n\ndef fine(input_shape, num_classes): ...\n",
    "rude/broken.py": "def network(:\n",
    "rude/needy.py": "import no_such_dependency\n\ndef needy(input_shape, num_classes): ...\n",
    "rude/conf/model/evil.yaml": "_target_: os.system\n",
    "rude/conf/model/sly.yaml": "_target_: rude.models.os.system\n",
    "rude/conf/model/broken.yaml": "_target_: rude.broken.network\n",
    "rude/conf/model/needy.yaml": "_target_: rude.needy.needy\n",
    "rude/conf/model/crooked.yaml": "_target_: rude.models.fine\n  deeper: 1\n",
    "rude/conf/model/vgg11.yaml": "_target_: rude.models.fine\n",  # kerasnn's name.
    "rude/conf/model/mixer_s16.yaml": "_target_: rude.models.fine\n",  # Another plug-in's name.
    "rude/conf/augment/flip.yaml": "{}\n",  # A name in a group of which several can be chosen.
    "rude/conf/model/vgg13.yaml": (ROOT / "conf" / "model" / "vgg13.yaml").read_text(encoding="utf-8"),  # A mere copy.
}

# A part of a package that has no __init__.py, with a network that is imported by a relative name.
NESTED = {
    "acme/nets/__init__.py": "from .wide import wide\n",
    "acme/nets/wide.py": (
        "from typing import Literal\nfrom kerasnn import ranges\nWay = Literal['up', 'down']\nODD = Literal[NAMES]\n"
        "def wide(input_shape, num_classes, units: ranges.Positive = 8, way: Way = 'up', odd: ODD = 1): ...\n"
    ),
    "acme/nets/conf/model/wide.yaml": "_target_: acme.nets.wide\n",
}


def distribute(site, name, package, files=()):
    """Writes what pip would have installed of a distribution that registers `package` as a plug-in."""
    facts = site / f"{name}-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(f"[kerasnn.plugins]\n{name} = {package}\n")
    for path, content in dict(files).items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(content, encoding="utf-8")


def run(site, cwd, *words, **environment):
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, cwd=cwd, timeout=600,
        env={**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1", **environment},
    )  # fmt: skip


def ask(site, cwd, *command_lines):
    """The (exit code, stdout, stderr) of each command line, and the modules that were imported for them."""
    answer = run(site, cwd, "-c", LIGHT, json.dumps(command_lines))
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A folder of packages with the example alone, installed as a user would."""
    site = tmp_path_factory.mktemp("tiny")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation",
         "--target", str(site), str(EXAMPLE)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return site


@pytest.fixture(scope="module")
def crowded(tiny, tmp_path_factory):
    """A copy of that folder, where plug-ins of every damaged kind have joined the example."""
    site = shutil.copytree(tiny, tmp_path_factory.mktemp("crowded") / "site")
    distribute(site, "absent", "absent_package")
    distribute(site, "bare", "bare", {"bare/__init__.py": ""})
    distribute(site, "confused", "kerasnn_tiny:conf")
    distribute(site, "rude", "rude", RUDE)
    distribute(site, "nested", "acme.nets", NESTED)
    return site


def test_plugin_is_offered_composed_and_checked_without_being_imported(tiny, tmp_path):
    (help_, job, recipe, key, value, variant), modules = ask(
        tiny,
        tmp_path,
        ["--help"],
        ["--cfg", "job", "model=tiny_mixer", "data=checkerboards", "model.depth=2", "data.noise=0"],
        ["--cfg", "job", "experiment=tiny_mixer_checkerboards"],
        ["model=tiny_mixer", "model.widht=32"],
        ["model=tiny_mixer", "model.width=31"],
        ["model=tiny_mixer", "model.variant=mixer_s16"],
    )
    assert help_[0] == 0
    assert "  kerasnn_tiny: kerasnn-tiny 0.1.0\n" in help_[1]
    assert {"tiny_mixer", "mixer_s16", "checkerboards", "tiny_mixer_checkerboards"} <= set(help_[1].split())
    assert max(map(len, help_[1].splitlines())) <= 80
    assert job[0] == recipe[0] == 0, job[2] + recipe[2]
    assert "_target_: kerasnn_tiny.models.mixer.mixer\n  variant: tiny_mixer\n" in job[1]
    assert "depth: 2" in job[1]
    assert "_target_: kerasnn_tiny.data.checkerboards.checkerboards\n" in recipe[1]
    assert [answer[0] for answer in (key, value, variant)] == [2, 2, 2]
    assert "unknown key 'model.widht': did you mean 'model.width'?" in key[2]
    assert "model.width=31 must be in 2 <= x, a multiple of 2" in value[2]
    assert "model.variant=mixer_s16 does not fit model=tiny_mixer: choose model=mixer_s16" in variant[2]
    assert not {"tensorflow", "keras", "numpy", "kerasnn_tiny"} & set(modules)


def test_plugin_takes_part_in_shell_completion(tiny, tmp_path):
    queries = {"model=tiny": "model=tiny_mixer", "data=check": "data=checkerboards", "trainer.epo": "trainer.epochs="}
    for word, meant in queries.items():
        line = f"kerasnn {word}"
        answer = run(tiny, tmp_path, "-m", "kerasnn", "-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))
        assert answer.stdout.split() == [meant], answer.stderr


def test_plugin_passes_its_own_tests_and_trains(crowded, tmp_path):
    answer = run(crowded, tmp_path, "-c", HEAVY, str(EXAMPLE))
    assert "codes [0, 0, 2]" in answer.stdout, answer.stdout + answer.stderr
    assert "rude.needy.needy cannot be imported: No module named 'no_such_dependency'" in answer.stderr
    results = [json.loads(path.read_text(encoding="utf-8")) for path in tmp_path.rglob("result.json")]
    finished = [result for result in results if result["status"] == "FINISHED"]
    assert [result["name"] for result in finished] == ["tiny_mixer"]
    # Patches of 4·4·3 to 16 channels; one block of two norms, of 64·8 + 8 + 8·64 + 64 across the 64 patches, and of
    # 16·64 + 64 + 64·16 + 16 across the channels; a norm; the head for the recipe's six kinds of board.
    expected = (48 * 16 + 16) + 2 * 32 + 1_096 + 2_128 + 32 + (16 * 6 + 6)
    assert finished[0]["metrics"]["cost/params_trainable"] == expected
    # Those that took part in the choices, chosen or not; not what is damaged.
    (tags,) = (line for line in answer.stdout.splitlines() if line.startswith("tags "))
    assert json.loads(tags.removeprefix("tags ")) == {
        "plugin.acme.nets": "nested 1.0", "plugin.kerasnn_tiny": "kerasnn-tiny 0.1.0", "plugin.rude": "rude 1.0",
    }  # fmt: skip


def test_damaged_plugin_is_named_where_it_may_be_missed_and_disturbs_nothing_else(crowded, tmp_path):
    (fine, unknown, help_), _ = ask(
        crowded,
        tmp_path,
        ["--cfg", "job", "model=tiny_mixer", "data=checkerboards"],
        ["model=tiny_mixr"],
        ["--help"],
    )
    assert (fine[0], fine[2]) == (0, "")
    assert unknown[0] == 2
    assert "did you mean 'tiny_mixer'?" in unknown[2]
    absent = "absent 1.0 is left out: there is no package absent_package (reinstall or uninstall absent)"
    assert f"; the plug-in absent_package of {absent}" in unknown[2]
    assert "the plug-in bare of bare 1.0 is left out: its package has no folder conf" in unknown[2]
    assert "'kerasnn_tiny:conf' must be the name of a package (reinstall or uninstall confused)" in unknown[2]
    assert unknown[2].count("\n") == 1
    assert "absent_package: absent 1.0, left out: there is no package" in help_[1]
    assert "kerasnn_tiny: kerasnn-tiny 0.1.0" in help_[1]


# What is typed after --cfg job, and what the one line of the answer must say.
REFUSED = {
    "model=evil": ["model._target_=os.system is not allowed", " or rude."],
    "model=sly": ["_target_ 'rude.models.os.system' does not exist"],
    "model=broken": ["rude/broken.py cannot be read as Python", "line 1"],
    "model=crooked": ["rude/conf/model/crooked.yaml, line 2: mapping values are not allowed here"],
    "model=vgg11": ["model=vgg11 is defined differently by kerasnn (", "and by the plug-in rude of rude 1.0 ("],
    "model=mixer_s16": ["by the plug-in kerasnn_tiny of kerasnn-tiny 0.1.0 (", "rename one of the files"],
    "augment=[flip,noise]": ["augment=flip is defined differently by kerasnn ("],
    "model=wide model.units=0": ["model.units=0 must be in 1 <= x"],
    "model=wide model.way=upp": ["model.way=upp is not a choice: did you mean 'up'?"],
}


@pytest.fixture(scope="module")
def refusals(crowded, tmp_path_factory):
    """The answers to all of them, from one process."""
    words = [["--cfg", "job", *line.split()] for line in REFUSED]
    answers, _ = ask(crowded, tmp_path_factory.mktemp("empty"), *words)
    return dict(zip(REFUSED, answers, strict=True))


@pytest.mark.parametrize("line", REFUSED)
def test_plugin_is_held_to_the_rules_in_one_line(refusals, line):
    code, out, err = refusals[line]
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    for word in REFUSED[line]:
        assert word in err


def test_plugin_may_lie_deep_in_a_package_and_copy_a_file(crowded, tmp_path):
    # An alias that no reader of sources can evaluate (`Literal[NAMES]`) leaves that one key unchecked, not the others.
    (deep, copy, own), _ = ask(
        crowded,
        tmp_path,
        ["--cfg", "job", "model=wide", "model.odd=anything", "model.way=down"],
        ["--cfg", "job", "model=vgg13"],
        ["--cfg", "job", "model=lenet5", "augment=[noise]"],
    )
    assert [answer[0] for answer in (deep, copy, own)] == [0, 0, 0], deep[2] + copy[2] + own[2]
    assert "_target_: acme.nets.wide" in deep[1]


def test_own_file_with_a_name_of_kerasnns_is_refused_when_chosen(tiny, tmp_path):
    folder = tmp_path / "a folder, x=1 [2]"  # What Hydra's overrides are written in may stand in a path.
    own = folder / "conf" / "model"
    own.mkdir(parents=True)
    for name in ("vgg16", "mine"):
        (own / f"{name}.yaml").write_text("_target_: kerasnn.models.mlp.mlp\n", encoding="utf-8")
    (taken, free, mine), _ = ask(
        tiny, folder, *(["--cfg", "job", f"model={name}"] for name in ("vgg16", "vgg19", "mine"))
    )
    assert taken[0] == 2
    assert f"and by you ({own}/vgg16.yaml): rename one of the files" in taken[2]
    assert (free[0], mine[0]) == (0, 0), free[2] + mine[2]
