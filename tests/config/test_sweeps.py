"""Before a sweep begins: what makes it the same sweep again, and where it goes on."""

import pytest

from kerasnn.config.compose import check, compose_plain
from kerasnn.config.sweeps import identity, placed
from kerasnn.errors import ConfigError
from kerasnn.tracking.sweep import open_sweep

WORDS = ["model=mlp", "hydra/launcher=kerasnn"]


def test_sweep_is_the_same_by_its_runs_in_order_and_by_its_record():
    first, second = check(["model=mlp", "seed=0"]), check(["model=mlp", "seed=1"])
    same = identity([first, second])
    assert identity([check(["model=mlp", "seed=0", "name=mine", "strategy.kind=CPU"]), second]) == same
    others = [
        identity([second, first]),  # A run's number names its folder.
        identity([first]),
        identity([first, check(["model=mlp", "seed=1", "tracking.experiment=other"])]),
        identity([first, check(["model=mlp", "seed=1", "strategy.devices=2"])]),
        identity([check(["model=mlp", "seed=0", "tracking=none"]), second]),
    ]
    assert len({same, *others}) == 6
    own = [check(["model=mlp", "data=csv", f"data.dir={name}.csv"]) for name in ("cats", "dogs")]
    assert identity(own[:1]) != identity(own[1:])


@pytest.mark.parametrize(
    ("words", "whole", "goes_on"),
    [
        (WORDS, True, True),
        (WORDS, False, False),  # A search draws other runs, whose numbers are those of earlier ones.
        (["model=mlp"], True, False),  # Hydra's own launcher does all of it again.
        ([*WORDS, "hydra.launcher.skip_finished=false"], True, False),
        ([*WORDS, "hydra.sweep.dir=runs/named"], True, False),
    ],
)
def test_sweep_goes_on_where_it_began_if_what_is_done_is_left_alone(tmp_path, monkeypatch, words, whole, goes_on):
    monkeypatch.chdir(tmp_path)
    config = check(words)
    own = compose_plain(words).hydra
    began = tmp_path / "runs" / "day" / "before"
    open_sweep(began, ["seed"], check(["tracking=none"]).tracking, identity([config]))
    with placed(own, [config], whole) as (folder, _):
        assert (folder == began) == goes_on
        if "hydra/launcher=kerasnn" in words and whole:
            with pytest.raises(ConfigError, match="is running already"), placed(own, [config], whole):
                pass


@pytest.mark.parametrize(
    ("words", "whole"),
    [
        (["model=mlp"], True),  # It may be at work, or wait in a cluster's queue, and holds nobody off.
        (WORDS, False),  # Of a search that began with the same runs.
    ],
)
def test_folder_of_a_sweep_that_others_cannot_go_on_with_is_never_taken(tmp_path, monkeypatch, words, whole):
    monkeypatch.chdir(tmp_path)
    config, record, folders = check(WORDS), check(["tracking=none"]).tracking, []
    for number, (asked, all_there_is) in enumerate([(words, whole), (WORDS, True), (WORDS, True)]):
        own = compose_plain(asked).hydra
        own.sweep.dir = f"runs/day/{number}"
        with placed(own, [config], all_there_is) as (folder, digest):
            open_sweep(folder, ["seed"], record, digest)
        folders.append(folder.name)
    assert folders == ["0", "1", "1"]
