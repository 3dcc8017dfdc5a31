"""Weights that keras-hub publishes, in networks of this package: `from=hub:PRESET`, and `from_hub` for programs.

It needs keras-hub, the package's extra `hub`. A preset's own words, its tokenizer, are not taken over: the tokenizers
here learn theirs from the texts, so that number 7 stands for another word than in the preset. A command therefore
refuses `from=hub:` for data that has words; whoever makes tokens by the preset's tokenizer calls `from_hub`.
"""

import keras

from kerasnn.data.bundle import Bundle
from kerasnn.errors import ConfigError, DataError, ModelError
from kerasnn.training.weights import Report, weighted

UNUSED = {"pooled_dense"}  # What fills gaps reads no pooled features.


def refuse_words(named: str, bundle: Bundle) -> Bundle:
    """`bundle` as it is, if it has no words.

    Raises:
        ModelError: it has, and its numbers stand for other ones than in the preset, however many there are of them.
    """
    if bundle.tokenizer:
        raise ModelError(
            f"from={named}: a preset's own words, its tokenizer, are not taken over, and data={bundle.name}'s "
            f"{bundle.vocab_size:,} are others: start from a run, or call kerasnn.training.hub.from_hub with tokens of "
            "the preset's own"
        )
    return bundle


def load_preset(preset: str, model: keras.Model) -> Report:
    """Moves the weights of a preset, by its name or folder, into our network; what a token stands for is not looked at.

    Raises:
        ConfigError: keras-hub is not there.
        DataError: the preset cannot be had.
        ModelError: it is another network.
    """
    try:
        import keras_hub
    except ImportError as error:
        raise ConfigError(f"from=hub:{preset} needs KerasHub: pip install 'kerasnn[hub]'") from error
    try:
        backbone = keras_hub.models.Backbone.from_preset(preset)
    except Exception as error:  # Of the network, of the file system, of Keras.
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"from=hub:{preset}: the preset cannot be had ({reason}); give a name or a folder") from error
    new = from_hub(backbone, model)
    return Report(tuple(layer.name for layer in weighted(model) if layer.name not in new), {}, tuple(new))


def from_hub(backbone: keras.Model, ours: keras.Model) -> list[str]:
    """Copies the weights of a keras-hub backbone into our network of the same family.

    Layers meet by name. A table of positions may be longer than ours, which takes its first rows. Of the words only the
    number is compared: see to it that the tokens are those of the preset's tokenizer.

    Args:
        backbone: BERT's or GPT-2's. With published weights: `keras_hub.models.GPT2Backbone.from_preset("gpt2_base_en")`
            (a download) for `gpt("gpt2", (64,), 50_257)`; the published BERTs have `separator_id=102`.
        ours: of the same sizes and words; its weights are overwritten.

    Returns:
        Names of our layers that the backbone has no weights for, such as `predictions`: they keep their own.

    Raises:
        ModelError: the two are not the same network, or not of the same size; nothing was copied then.

    Example:
        >>> import keras_hub
        >>> from kerasnn.models.bert import bert
        >>> sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 128, "intermediate_dim": 512}
        >>> backbone = keras_hub.models.BertBackbone(vocabulary_size=30_522, **sizes)      # or .from_preset(...)
        >>> network = bert("bert", (128,), 30_522, separator_id=102)
        >>> from_hub(backbone, network)      # then network.compile(...), network.fit(...)
        ['predictions']
    """
    theirs = {layer.name: layer for layer in backbone.layers if layer.weights}
    own = {layer.name: layer for layer in ours.layers if layer.weights}
    new = [name for name in own if name not in theirs]
    strange = sorted({*(theirs.keys() - own.keys() - UNUSED), *(name for name in new if "transformer" in name)})
    if strange:
        raise ModelError(f"{ours.name} is not {backbone.name}: layer '{strange[0]}' exists in one of them alone")
    moves = [
        move for name in own if name in theirs for move in _moves(own[name], theirs[name], ours.name, backbone.name)
    ]
    for weight, value in moves:
        weight.assign(value)
    return new


def _moves(own: keras.Layer, theirs: keras.Layer, our_name: str, their_name: str) -> list[tuple]:
    """Each weight of our layer with the value it is to take."""
    values = {_place(weight, theirs): keras.ops.convert_to_numpy(weight) for weight in theirs.weights}
    moves = []
    for weight in own.weights:
        place = _place(weight, own)
        if place not in values:  # A bias of the logits, which belongs to a head of theirs.
            continue
        value = values[place]
        if own.name == "position_embedding":
            value = value[: weight.shape[0]]
        if value.shape != tuple(weight.shape):
            raise ModelError(
                f"{own.name} is {tuple(weight.shape)} in {our_name} and {value.shape} in {their_name}: "
                "build both for the same words, sizes and at most as many positions"
            )
        moves.append((weight, value))
    return moves


def _place(weight, layer: keras.Layer) -> str:
    """Where a weight stands in its layer: "self_attention/query/kernel". keras-hub has two names for one attention."""
    return weight.path.rpartition(f"{layer.name}/")[2].replace("self_attention_layer/", "self_attention/")
