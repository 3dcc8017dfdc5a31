"""The kinds of labelled examples: pictures in memory or on disk, tokens, and texts that are yet to become tokens."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class ArrayExamples:
    """Labelled pictures in memory.

    Args:
        images: uint8 `(examples, height, width, channels)`.
        labels: int32 `(examples,)`, the index of the class.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "ArrayExamples":
        """The examples at `indices`, in that order."""
        return ArrayExamples(self.images[indices], self.labels[indices])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of pictures and labels, in order."""
        seal = sha256(repr(self.images.shape).encode())
        seal.update(np.ascontiguousarray(self.images))
        seal.update(np.ascontiguousarray(self.labels, dtype="<i4"))
        return seal.hexdigest()


@dataclass(frozen=True)
class FileExamples:
    """Labelled pictures on disk, decoded when they are needed.

    Args:
        paths: file names, `(examples,)`.
        labels: int32 `(examples,)`, the index of the class.
        channels: 1 (grayscale) or 3 (colour): what every file is converted to.
    """

    paths: tuple[str, ...]
    labels: np.ndarray
    channels: int = 3

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "FileExamples":
        """The examples at `indices`, in that order."""
        return FileExamples(tuple(self.paths[i] for i in indices), self.labels[indices], self.channels)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the files' bytes and labels, in order."""
        seal = sha256()
        for path, label in zip(self.paths, self.labels, strict=True):
            seal.update(sha256(Path(path).read_bytes()).digest() + int(label).to_bytes(4, "little"))
        return seal.hexdigest()


@dataclass(frozen=True)
class TokenExamples:
    """Labelled sequences of tokens, all of one length T.

    Args:
        tokens: int32 `(examples, T)`, or `(examples, 2, T)` for a source and a target sequence.
        labels: int32, either `(examples,)`, the index of the class, or `(examples, T)`, a token for each position,
            where -1 stands for a position that has none.
    """

    tokens: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def each_position(self) -> bool:
        """Whether every position has a label of its own, rather than the whole sequence one."""
        return self.labels.ndim == 2

    def take(self, indices: np.ndarray) -> "TokenExamples":
        """The examples at `indices`, in that order."""
        return TokenExamples(self.tokens[indices], self.labels[indices])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of tokens and labels, in order."""
        seal = sha256(repr((self.tokens.shape, self.labels.shape)).encode())
        seal.update(np.ascontiguousarray(self.tokens, dtype="<i4"))
        seal.update(np.ascontiguousarray(self.labels, dtype="<i4"))
        return seal.hexdigest()


@dataclass(frozen=True)
class TextExamples:
    """Labelled texts, before a tokenizer has learned its vocabulary from those that turn out to be in train.

    Args:
        texts: one per example.
        labels: int32 `(examples,)`, the index of the class; or `(examples, 0)`, where the tokens will have the labels.
        strata: int32 `(examples,)`, the class of each where it is no label: the same texts are held out as where it is.
    """

    texts: tuple[str, ...]
    labels: np.ndarray
    strata: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "TextExamples":
        """The examples at `indices`, in that order."""
        strata = None if self.strata is None else self.strata[indices]
        return TextExamples(tuple(self.texts[i] for i in indices), self.labels[indices], strata)


Examples = ArrayExamples | FileExamples | TokenExamples | TextExamples
