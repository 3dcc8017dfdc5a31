"""Weights that keras-hub publishes, in networks of this package: `from=hub:PRESET`, and `from_hub` for programs.

It needs keras-hub, the package's extra `hub`. A preset brings what its weights know of their inputs: its words, by
which texts are read (`kerasnn.data.preset_words` renumbers them, and the table of vectors moves accordingly), or how
its pictures are standardised. The families are BERT, GPT-2 and the vision transformer.
"""

import re
from collections.abc import Sequence
from functools import cached_property
from types import ModuleType

import keras
import numpy as np

from kerasnn.data.bundle import Bundle
from kerasnn.data.preset_words import PresetWords, byte_pairs, word_pieces
from kerasnn.errors import ConfigError, DataError, ModelError, suggestion
from kerasnn.training.contract import Contract, applied, fingerprint
from kerasnn.training.weights import Report, weighted

POSITIONS = "position_embedding"  # Of words, in a row; those of pictures are a grid.
UNUSED = {"pooled_dense"}  # What fills gaps reads no pooled features.

# Where a weight of keras-hub's stands in ours, if not at the same place: patterns, each with what it becomes.
PLACES = (
    (r"self_attention_layer/", "self_attention/"),  # keras-hub has two names for one attention.
    (r"vit_patching_and_embedding/class_token", "class_token/token"),
    (r"vit_patching_and_embedding/patch_embedding/", "patches/"),
    (r"vit_patching_and_embedding/position_embedding/", "positions/"),
    (r"vit_encoder/transformer_block_(\d+)/ln_", r"block\1_norm"),
    (r"vit_encoder/transformer_block_(\d+)/mha/", r"block\1_attention/"),
    (r"vit_encoder/transformer_block_(\d+)/mlp/dense_", r"block\1_fc"),
    (r"vit_encoder/ln/", "norm/"),
)
INNER = re.compile(r"transformer_layer_\d+|block\d+")

SIZES = {
    "BertBackbone": (
        "model=bert model.depth={num_layers} model.width={hidden_dim} model.num_heads={num_heads} "
        "model.hidden_dim={intermediate_dim}, for {vocabulary_size:,} words and data.sequence_length="
        "{max_sequence_length} at most"
    ),
    "GPT2Backbone": (
        "model=gpt model.depth={num_layers} model.width={hidden_dim} model.num_heads={num_heads}, for "
        "{vocabulary_size:,} words and data.sequence_length={max_sequence_length} at most"
    ),
    "ViTBackbone": (
        "model=vit_base model.depth={num_layers} model.width={hidden_dim} model.num_heads={num_heads} "
        "model.patch_size={patch_size[0]}, for data.image_size={image_shape[0]}"
    ),
}
"""The families that are known, and what builds a network of ours of the same sizes."""


class Preset:
    """A preset of KerasHub's; each of its parts is fetched when it is asked for.

    Args:
        named: what messages call it: `hub:bert_tiny_en_uncased`.
        preset: its name or folder.

    Raises:
        ConfigError: keras-hub is not there.
        DataError: the preset, or a part that is asked for, cannot be had.
        ModelError: it is of a family that is not known here.
    """

    def __init__(self, named: str, preset: str):
        self.named, self.preset = named, preset
        try:
            import keras_hub
        except ImportError as error:
            raise ConfigError(f"from={named} needs KerasHub: pip install 'kerasnn[hub]'") from error
        self.library: ModuleType = keras_hub

    @cached_property
    def backbone(self) -> keras.Model:
        """The network, with its weights."""
        backbone = self._open(self.library.models.Backbone)
        if family(backbone) is None:
            raise ModelError(f"from={self.named} is a {type(backbone).__name__}: known here are {', '.join(SIZES)}")
        return backbone

    @cached_property
    def words(self) -> PresetWords | None:
        """Its words in our numbering; None where it has no tokenizer."""
        try:
            theirs = self._open(self.library.models.Tokenizer)
        except DataError as error:
            if isinstance(error.__cause__, FileNotFoundError) or "Unable to find a subclass" in str(error.__cause__):
                return None
            raise
        if isinstance(theirs, self.library.models.BertTokenizer) and theirs.split:
            names = (theirs.pad_token, theirs.oov_token, theirs.cls_token, theirs.sep_token, theirs.mask_token)
            return word_pieces(
                theirs.get_vocabulary(),
                dict(enumerate(names)),
                theirs.lowercase,
                theirs.strip_accents,
                theirs.split_on_cjk,
                theirs.suffix_indicator,
            )
        if isinstance(theirs, self.library.models.GPT2Tokenizer):
            return byte_pairs(theirs.vocabulary, theirs.merges, theirs.end_token, theirs.add_prefix_space)
        raise ModelError(
            f"from={self.named} reads texts by a {type(theirs).__name__} that is not known here: known are BERT's and "
            "GPT-2's, which split texts by themselves"
        )

    @cached_property
    def contract(self) -> Contract:
        """What the weights expect of their inputs."""
        if family(self.backbone) != "ViTBackbone":
            return Contract(tokenizer=fingerprint(self.words.tokenizer.to_json()) if self.words else "")
        try:
            converter = self._open(self.library.layers.ImageConverter)
        except DataError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return Contract(input_shape=self.backbone.image_shape)
            raise
        channels = self.backbone.image_shape[-1]
        # Theirs is scale · x + offset of x in [0, 255], ours (x / 255 - mean) / deviation.
        scale, offset = (
            np.broadcast_to(default if value is None else value, channels).astype(float)
            for value, default in ((converter.scale, 1), (converter.offset, 0))
        )
        deviation = 1 / (255 * scale)
        mean = -offset * deviation
        return Contract(tuple(map(float, mean)), tuple(map(float, deviation)), tuple(self.backbone.image_shape))

    def apply(self, bundle: Bundle) -> Bundle:
        """`bundle` as the weights expect it.

        Raises:
            ModelError: its words are others than the preset's, or the preset has none.
        """
        if bundle.kind == "tokens" and not self.contract.tokenizer:
            raise ModelError(
                f"from={self.named} has no tokenizer, so that what its weights know of data={bundle.name}'s "
                f"{bundle.vocab_size:,} words is unknown: save one into the preset, or call "
                "kerasnn.training.hub.from_hub with tokens of its own"
            )
        return applied(self.contract, self.named, bundle)

    def load(self, model: keras.Model) -> Report:
        """Moves the weights into our network; its words are numbered as `words` has it, if there are any.

        Raises:
            ModelError: it is another network, or one of other sizes; nothing was moved then.
        """
        new = from_hub(self.backbone, model, self.words.rows if self.words else None)
        return Report(tuple(layer.name for layer in weighted(model) if layer.name not in new), {}, tuple(new))

    def _open(self, kind: type):
        try:
            return kind.from_preset(self.preset)
        except Exception as error:  # Of the network, of the file system, of Keras.
            reason = " ".join(str(error).split())[:200]
            if reason.startswith("Unknown preset identifier"):
                known = [name for each in SIZES for name in getattr(self.library.models, each).presets]
                reason = suggestion(self.preset, known)
            message = f"from={self.named}: the preset cannot be had ({reason}); give a name or a folder"
            raise DataError(message) from error


def family(backbone: keras.Model) -> str | None:
    """The key of SIZES that a keras-hub backbone belongs to; None for one of another family."""
    return next((kind.__name__ for kind in type(backbone).__mro__ if kind.__name__ in SIZES), None)


def from_hub(backbone: keras.Model, ours: keras.Model, rows: Sequence[int | None] | None = None) -> list[str]:
    """Copies the weights of a keras-hub backbone into our network of the same family.

    Layers meet by name. A table of positions of words may be longer than ours, which takes its first rows. Of the words
    only the number is compared: see to it that the tokens are those of the preset's tokenizer, or renumbered by `rows`.

    Args:
        backbone: BERT's, GPT-2's or ViT's. With published weights: `keras_hub.models.GPT2Backbone.from_preset(
            "gpt2_base_en")` (a download) for `gpt("gpt2", (64,), 50_257)`; the published BERTs have `separator_id=102`.
        ours: of the same sizes and words; its weights are overwritten.
        rows: of each of our words, its row in the backbone's table of vectors; None is the mean of all. Without any,
            the words are numbered alike.

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
    theirs = {_place(weight, layer): weight for layer in backbone.layers for weight in layer.weights}
    parts = {place.partition("/")[0] for place in theirs}
    own = {layer.name: layer for layer in ours.layers if layer.weights}
    new = [name for name in own if name not in parts]
    strange = sorted({*(parts - own.keys() - UNUSED), *(name for name in new if INNER.match(name))})
    if strange:
        raise ModelError(
            f"{ours.name} is not {backbone.name}: layer '{strange[0]}' exists in one of them alone; {_remedy(backbone)}"
        )
    moves = []
    for layer in (own[name] for name in own if name in parts):
        for weight in layer.weights:
            source = theirs.get(_place(weight, layer))
            if source is None and layer.name == "token_embedding":
                continue  # A number per word belongs to a head of theirs: it is in no backbone.
            if source is None:
                raise ModelError(f"{layer.name} has a {weight.name} in {ours.name} and none in {backbone.name}")
            value = _value(source, weight, layer.name, rows)
            if value.shape != tuple(weight.shape):
                raise ModelError(
                    f"{layer.name} is {tuple(weight.shape)} in {ours.name} and {value.shape} in {backbone.name}; "
                    f"{_remedy(backbone)}"
                )
            moves.append((weight, value))
    for weight, value in moves:
        weight.assign(value)
    return new


def _place(weight: keras.Variable, layer: keras.Layer) -> str:
    """Where a weight stands in our network: "transformer_layer_0/self_attention/query/kernel"."""
    path = f"{layer.name}/{weight.path.rpartition(f'{layer.name}/')[2]}"
    for pattern, ours in PLACES:
        path = re.sub(pattern, ours, path)
    return path


def _value(source: keras.Variable, weight: keras.Variable, layer: str, rows: Sequence[int | None] | None) -> np.ndarray:
    """What of the backbone's weight ours is to take."""
    value = keras.ops.convert_to_numpy(source)
    if layer == POSITIONS:
        return value[: weight.shape[0]]
    if layer != "token_embedding" or rows is None:
        return value
    beyond = max(row for row in rows if row is not None)
    if beyond >= len(value):
        raise ModelError(f"the preset's tokenizer numbers a word {beyond}, but its table has {len(value)}: mend it")
    mean = value.mean(axis=0)
    return np.stack([mean if row is None else value[row] for row in rows])


def _remedy(backbone: keras.Model) -> str:
    sizes = SIZES.get(family(backbone) or "")
    return f"what it fits is {sizes.format_map(vars(backbone))}" if sizes else "build both alike"
