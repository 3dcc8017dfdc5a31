"""Do the parts of a run fit together? Each is legal by itself; what none of them can know is checked here."""

import keras
import numpy as np

from kerasnn.augment.policy import Policy
from kerasnn.config.strict import RunConfig
from kerasnn.data.bundle import Bundle
from kerasnn.errors import ConfigError, ModelError


def check_choices(config: RunConfig, bundle: Bundle, policy: Policy) -> None:
    """Raises ConfigError for an augmentation or a loss that the data cannot have, or that do not go together."""
    # A config that was checked in haste does not know the choice, but the ops that it came to.
    augment, loss = config.choices.get("augment", ",".join(config.augment)), config.trainer.loss
    if policy.ops and bundle.kind == "tokens":
        raise ConfigError(f"augment={augment} is for pictures, but data={bundle.name} gives tokens: augment=none")
    if policy.mixes and loss != "cross_entropy":
        raise ConfigError(f"trainer.loss={loss} needs whole labels, but augment={augment} mixes them")
    if loss == "perceptron" and bundle.train.labels.ndim > 1:
        raise ConfigError(
            f"trainer.loss=perceptron is for one label per example, but data={bundle.name} has one at each position: "
            "set trainer.loss=cross_entropy"
        )


def check_model(model: keras.Model, bundle: Bundle) -> None:
    """Raises ModelError for a network that takes something else, answers something else, or sees what it is to tell.

    Args:
        model: with weights.
        bundle: what it is to be trained on.
    """
    if not getattr(model, "inputs", None):
        raise ModelError(f"{model.name} is no functional network: its inputs and costs are unknown before it is called")
    # A network of numbers would take tokens for amounts.
    takes = "tokens" if keras.backend.is_int_dtype(model.inputs[0].dtype) else "pictures"
    if takes != bundle.kind:
        raise ModelError(f"{model.name} takes {takes}, but data={bundle.name} gives {bundle.kind}")
    labels = bundle.train.labels.shape[1:]
    wanted = (*labels, bundle.num_classes)
    if model.output_shape[1:] != wanted:
        raise ModelError(
            f"{model.name} answers {model.output_shape[1:]} to each example, but data={bundle.name} needs {wanted}: "
            f"{_remedy(bundle)}"
        )
    if not labels:
        return
    looks_ahead = _looks_ahead(model, bundle)
    if bundle.hide and not looks_ahead:
        raise ModelError(
            f"{model.name} only looks back, but data={bundle.name} asks for words from what is on both sides of them: "
            "choose model=bert model.head=masked_words, or data=text_lm"
        )
    if looks_ahead and not bundle.hide:
        raise ModelError(
            f"{model.name} sees the tokens that it is to tell: data={bundle.name} needs a network that only looks "
            "back, such as model=gpt"
        )


def _remedy(bundle: Bundle) -> str:
    if bundle.hide:
        return "a network that fills gaps, such as model=bert model.head=masked_words"
    if bundle.train.labels.ndim > 1:
        return "a network of next tokens, such as model=gpt"
    return "one answer per text, as model=bert model.head=classes gives"


def _looks_ahead(model: keras.Model, bundle: Bundle) -> bool:
    """Whether the last token of the text to tell changes an answer before it."""
    tokens = np.array(bundle.train.tokens[:1])
    changed = tokens.copy()
    changed[..., -1, -1] = (tokens[..., -1, -1] + 1) % bundle.vocab_size
    before, after = (keras.ops.convert_to_numpy(model(each, training=False)) for each in (tokens, changed))
    return not np.allclose(before[:, :-1], after[:, :-1], atol=1e-5)
