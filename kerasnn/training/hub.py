"""Weights that keras-hub publishes, in networks of this package: a function for programs of your own.

No command calls it, and `model.weights=` does not reach it: import it. It needs keras-hub, the package's extra `hub`.
"""

import keras

from kerasnn.errors import ModelError

UNUSED = {"pooled_dense"}  # What fills gaps reads no pooled features.


def from_hub(backbone: keras.Model, ours: keras.Model) -> list[str]:
    """Copies the weights of a keras-hub backbone into our network of the same family; a library function, no command.

    Layers meet by name. A table of positions may be longer than ours, which takes its first rows.

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
