"""Before a sweep begins: whether its launcher can do what it is asked, whether it is at work already, and where."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig

from hydra_plugins.kerasnn_launcher.settings import TARGET, check_settings
from kerasnn.config.named import own_data
from kerasnn.config.strict import RunConfig
from kerasnn.tracking.same_sweep import alone, digest_of, former
from kerasnn.tracking.store import resolve_uri


def identity(configs: Sequence[RunConfig], searched: Sequence[str] = ()) -> str:
    """The digest of a sweep: of its runs in order, of where they are recorded, and of what it searches over.

    Args:
        configs: of its runs, as far as they are known before it begins.
        searched: the overrides that a search draws values from.
    """
    runs = [
        [config.digest, own_data(config), config.strategy.devices, config.tracking.experiment] for config in configs
    ]
    record = configs[0].tracking
    return digest_of([runs, record.backend, resolve_uri(record.uri), list(searched)])


@contextmanager
def placed(own: DictConfig, digest: str, configs: Sequence[RunConfig], whole: bool) -> Iterator[Path]:
    """The folder of a sweep. With the launcher that does what is left, it is that in which the same sweep began.

    Args:
        own: Hydra's node of the composition.
        digest: the sweep's.
        configs: of its runs.
        whole: whether these are all that it will ever have: a search draws others each time.

    Raises:
        ConfigError: a setting of the launcher's that cannot be meant, or another process has the same sweep at work.
        DeviceError: GPUs that are not there.
    """
    folder = Path(own.sweep.dir).absolute()
    if own.launcher["_target_"] != TARGET:
        yield folder
        return
    check_settings(own.launcher, configs)
    named = any(word.lstrip("+").startswith("hydra.sweep.dir=") for word in own.overrides.hydra)
    with alone(digest):
        goes_on = whole and own.launcher.skip_finished and not named
        yield (former(digest) if goes_on else None) or folder
