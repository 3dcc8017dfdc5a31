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


def identity(configs: Sequence[RunConfig]) -> str:
    """The digest of a sweep: of all its runs in order, and of where they are recorded."""
    runs = [
        [config.digest, own_data(config), config.strategy.devices, config.tracking.experiment] for config in configs
    ]
    record = configs[0].tracking
    return digest_of([runs, record.backend, resolve_uri(record.uri)])


@contextmanager
def placed(own: DictConfig, configs: Sequence[RunConfig], whole: bool) -> Iterator[tuple[Path, str]]:
    """The folder of a sweep and its digest. With the launcher that does what is left, the same sweep goes on in one.

    The digest is empty where no other may go on in the folder: a launcher of Hydra's holds nobody off from what it has
    at work, or in the queue of a cluster, and a search has other runs each time.

    Args:
        own: Hydra's node of the composition.
        configs: of its runs.
        whole: whether these are all that it will ever have, as they are not of a search.

    Raises:
        ConfigError: a setting of the launcher's that cannot be meant, or another process has the same sweep at work.
        DeviceError: GPUs that are not there.
    """
    folder = Path(own.sweep.dir).absolute()
    ours = own.launcher["_target_"] == TARGET
    if ours:
        check_settings(own.launcher, configs)
    if not ours or not whole:
        yield folder, ""
        return
    digest = identity(configs)
    named = any(word.lstrip("+").startswith("hydra.sweep.dir=") for word in own.overrides.hydra)
    with alone(digest):
        goes_on = own.launcher.skip_finished and not named
        yield (former(digest) if goes_on else None) or folder, digest
