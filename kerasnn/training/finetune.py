"""Fine-tuning: which layers learn when, and how fast. First the head, then the stages below it, from the top down.

Howard, Ruder 2018, Universal Language Model Fine-tuning for Text Classification (gradual unfreezing, rates that fall
with depth); Hu et al. 2022, LoRA. A stage is what the names of layers share up to their first number: `conv5` in a
ResNet, `block5` in a VGG, `block_16` in a MobileNetV2, `transformer_layer_11` in a BERT.

Each phase is a training of its own: its optimizer starts without moments and its schedule from the beginning, so that
no bias correction meets moments of another age, and the warm-up holds for what has just begun to learn. What survives
a phase is the network: weights and statistics. Epochs, history and the best checkpoint go on through all phases.
"""

import logging
import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import keras
from keras import layers

from kerasnn.config.schema import Finetune
from kerasnn.errors import ConfigError, ModelError, unknown
from kerasnn.models.heads import is_head
from kerasnn.tracking.tracker import Tracker
from kerasnn.training.weights import weighted

log = logging.getLogger(__name__)

NUMBERED = re.compile(
    r"(?:block_?|conv|c|f|fc|hidden|rbm|stage_|inception_|transformer_layer_|encoder_block|decoder_block)\d+"
)
STEM = "stem"
ALL, HEAD = "all", "head"


@dataclass(frozen=True)
class Phase:
    """A part of a training in which the same layers learn.

    Args:
        name: `head`, `all`, or the stage from which on everything learns.
        epochs: how many.
        learns: names of the layers that do; None means every layer, as in a training from scratch.
        factor: what the learning rate is multiplied by.
        factors: further factors for single layers, by name.
    """

    name: str
    epochs: int
    learns: frozenset[str] | None = None
    factor: float = 1.0
    factors: dict[str, float] = field(default_factory=dict)


def stages(model: keras.Model) -> dict[str, list[str]]:
    """The layers with weights below the head, by stage, from the input up; what has no number joins the stage before.

    Example:
        >>> list(stages(vgg("vgg11", (32, 32, 3), 10)))
        ['block1', 'block2', 'block3', 'block4', 'block5', 'fc1', 'fc2']
    """
    found: dict[str, list[str]] = {}
    stage = STEM
    for layer in weighted(model):
        if not is_head(layer):
            numbered = NUMBERED.match(layer.name.removeprefix(f"{model.name}_"))
            stage = numbered[0] if numbered else stage
            found.setdefault(stage, []).append(layer.name)
    return found


def plan(settings: Finetune | None, model: keras.Model, fresh: Collection[str], epochs: int) -> list[Phase]:
    """The phases of a training of so many epochs.

    Args:
        settings: the section `finetune`; None is one phase in which everything learns.
        model: with its weights loaded.
        fresh: layers that no weights were found for: they learn from the first phase on.
        epochs: of all phases together.

    Raises:
        ConfigError: a stage that the network does not have, stages in the wrong order, or nothing would learn.
    """
    if settings is None:
        return [Phase(ALL, epochs)]
    known = stages(model)
    top = frozenset(fresh) | {layer.name for layer in weighted(model) if is_head(layer)}
    starts = [_stage(name, list(known), model.name) for name in settings.stages]
    if starts != sorted(set(starts), reverse=True):
        raise ConfigError(
            f"finetune.unfreeze={list(settings.stages)} must go down, stage by stage, such as {_way(known)}"
        )
    head_epochs = settings.head_epochs if starts else epochs
    if head_epochs and not top:
        raise ConfigError(f"{model.name} has no head of its own to learn first: set finetune.head_epochs=0")
    phases = [Phase(HEAD, head_epochs, top)] if head_epochs else []
    rest = epochs - head_epochs
    for number, (name, start) in enumerate(zip(settings.stages, starts, strict=True)):
        share = rest // len(starts) + (number >= len(starts) - rest % len(starts))
        learns = top | {layer for stage in list(known)[start:] for layer in known[stage]}
        phases.append(Phase(name, share, learns, settings.factor, _factors(known, top, settings.layer_decay)))
    return phases


def _stage(name: str, known: list[str], network: str) -> int:
    """The position of a stage: by name, by `stage3` for the third, or `all` for the first."""
    numbered = {f"stage{number}": number - 1 for number in range(1, len(known) + 1)}
    places = {**numbered, **{stage: place for place, stage in enumerate(known)}, ALL: 0}
    if name not in places:
        raise ConfigError(unknown(f"stage of {network} (finetune.unfreeze)", name, [*known, ALL]))
    return places[name]


def _way(known: dict[str, list[str]]) -> str:
    return f"[{','.join([*list(known)[:0:-1][:2], ALL])}]"


def _factors(known: dict[str, list[str]], top: frozenset[str], decay: float) -> dict[str, float]:
    """decay^1 for the last stage, decay^2 for the one below it …; what is new learns at the head's rate."""
    if decay == 1:
        return {}
    depths = {layer: len(known) - place for place, names in enumerate(known.values()) for layer in names}
    return {layer: decay**depth for layer, depth in depths.items() if layer not in top}


def prepare(model: keras.Model, phase: Phase, settings: Finetune | None, fresh: Collection[str]) -> int:
    """Freezes and unfreezes layers for a phase; returns how many numbers then learn. `model` must be compiled after it.

    Raises:
        ConfigError: nothing would learn.
    """
    if settings is not None:
        for layer in weighted(model):
            new = layer.name in fresh or is_head(layer)
            if isinstance(layer, layers.BatchNormalization) and not new:
                _set_norm(layer, layer.name in phase.learns, settings.bn)
            else:
                layer.trainable = layer.name in phase.learns and (new or _may_learn(layer, settings))
                for norm in () if new else inner_norms(layer):
                    _set_norm(norm, layer.trainable, settings.bn)
                _keep_to_lora(layer)
    count = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    if not count:
        raise ConfigError(f"nothing of {model.name} learns in the phase '{phase.name}': change finetune.unfreeze")
    if settings is not None:
        log.info("phase %s: %d epochs, %s parameters learn", phase.name, phase.epochs, f"{count:,}")
    return count


def factor_of(model: keras.Model, phase: Phase) -> Callable[[keras.Variable], float]:
    """The phase's factor of each variable; 1 for those that it does not name."""
    factors = {
        id(variable): phase.factors[layer.name]
        for layer in weighted(model)
        if layer.name in phase.factors
        for variable in layer.variables
    }
    return lambda variable: factors.get(id(variable), 1.0)


def _set_norm(layer: layers.BatchNormalization, learns: bool, bn: str) -> None:
    """A layer that is not trainable uses the statistics that it has, and leaves them alone."""
    layer.trainable = bn == "adapt" or (bn == "train" and learns)
    for variable in (layer.gamma, layer.beta):
        if variable is not None:
            variable.trainable = bn == "train" and learns


def inner_norms(layer: keras.Layer) -> list[layers.BatchNormalization]:
    """The batch normalizations that a layer is made of, such as those of a block that a plug-in brings."""
    return [part for part in layer._flatten_layers() if isinstance(part, layers.BatchNormalization)]


def _may_learn(layer: keras.Layer, settings: Finetune) -> bool:
    return settings.lora_rank is None or has_lora(layer)


def _keep_to_lora(layer: keras.Layer) -> None:
    if has_lora(layer):
        for variable in layer.weights:
            variable.trainable = layer.trainable and variable.name.startswith("lora_")


def has_lora(layer: keras.Layer) -> bool:
    """Whether a layer, or one inside it, such as of a model, learns an update of low rank."""
    return any(getattr(dense, "lora_enabled", False) for dense in dense_layers(layer))


def dense_layers(layer: keras.Layer) -> list[keras.Layer]:
    """The dense layers that a layer is, or is made of: projections of attention are Keras' EinsumDense."""
    return [part for part in layer._flatten_layers() if isinstance(part, layers.Dense | layers.EinsumDense)]


def add_lora(model: keras.Model, rank: int, fresh: Collection[str]) -> list[str]:
    """Gives the dense layers below the head updates of low rank, and returns the names of the layers that have some.

    Those inside other layers, such as the projections of attention and the feed-forward network of a transformer's
    block, get theirs too, and nothing else of that layer learns then.

    Raises:
        ModelError: the network has no dense layer with trained weights below its head.
    """
    owners = [
        layer for layer in weighted(model) if dense_layers(layer) and not is_head(layer) and layer.name not in fresh
    ]
    if not owners:
        raise ModelError(f"finetune.lora_rank={rank}: {model.name} has no trained dense layer below its head: set null")
    for layer in owners:
        for dense in dense_layers(layer):
            dense.enable_lora(rank)
    return [layer.name for layer in owners]


class PhaseRecord(keras.callbacks.Callback):
    """Writes `finetune/params_trainable` of every epoch, and the number of its phase.

    Args:
        tracker: where the record goes.
        history: gets the same values, by name.
        number: of the phase, from 1.
        count: how many numbers learn in it.
    """

    def __init__(self, tracker: Tracker, history: dict[str, list[float]], number: int, count: int):
        super().__init__()
        self.tracker, self.history = tracker, history
        self.values = {"finetune/phase": float(number), "finetune/params_trainable": float(count)}

    def on_epoch_end(self, epoch, logs=None):
        """Once per epoch, as all that is charted."""
        for key, value in self.values.items():
            self.history.setdefault(key, []).append(value)
        self.tracker.metrics(self.values, step=epoch + 1)
