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
        identity([first, second], ["optimizer.learning_rate=interval(0.1,1)"]),
    ]
    assert len({same, *others}) == 7
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
    digest, own = identity([config]), compose_plain(words).hydra
    began = tmp_path / "runs" / "day" / "before"
    open_sweep(began, ["seed"], check(["tracking=none"]).tracking, digest)
    with placed(own, digest, [config], whole) as folder:
        assert (folder == began) == goes_on
        if "hydra/launcher=kerasnn" in words:
            with pytest.raises(ConfigError, match="is running already"), placed(own, digest, [config], whole):
                pass
