"""Looks over picture files before training: what cannot be read is named and left out, what is odd is named."""

import logging
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image, UnidentifiedImageError

from kerasnn.data.damage import check_whole
from kerasnn.data.decode import FORMATS

log = logging.getLogger(__name__)

Channels = Literal["auto", "grayscale", "colour"]

_GREY = ("1", "L", "LA", "La")


@dataclass(frozen=True)
class Look:
    """What a file turned out to be. `reason` says why it is skipped, `oddity` what is converted."""

    grey: bool = False
    reason: str = ""
    oddity: str = ""


def survey(name: str, paths: Sequence[Path], channels: Channels, passed_over: int = 0) -> tuple[list[bool], int]:
    """Which of the files are pictures, and how many channels to read them with.

    Each file that is skipped or converted is one line in the log; a summary counts them.

    Args:
        name: the source's name, for the log.
        paths: the files.
        channels: `auto` reads grayscale (1) if every picture is grayscale, and colour (3) otherwise.
        passed_over: files that the source has named and left out itself; the summary counts them as skipped.

    Returns:
        For each file whether it can be used, and 1 or 3.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        looks = list(pool.map(look, paths))
    good = [not found.reason for found in looks]
    grey = channels == "grayscale" or (channels == "auto" and all(f.grey for f in looks if not f.reason))
    converted = 0
    for path, found in zip(paths, looks, strict=True):
        if found.reason:
            log.warning("%s: skipped %s: %s", name, path, found.reason)
            continue
        oddity = found.oddity or _recolour(found.grey, grey)
        if oddity:
            converted += 1
            log.info("%s: converted %s: %s", name, path, oddity)
    skipped = len(good) - sum(good) + passed_over
    summary = "%s: %d pictures, %d of them converted, %d files skipped; read as %s"
    log.info(summary, name, sum(good), converted, skipped, "grayscale" if grey else "colour")
    return good, 1 if grey else 3


def _recolour(is_grey: bool, wants_grey: bool) -> str:
    if is_grey == wants_grey:
        return ""
    return "grayscale, repeated in three channels" if is_grey else "colour, made grayscale"


def look(path: Path) -> Look:
    """What one file is, from its head, and whether it can be read to its end."""
    try:
        if path.stat().st_size == 0:
            return Look(reason="it is empty")
        with Image.open(path, formats=FORMATS) as image:
            if image.mode == "F":
                return Look(reason="it holds floating-point numbers")
            found = Look(grey=image.mode in _GREY or image.mode.startswith("I"), oddity=_oddity(image))
            check_whole(path, image)
            return found
    except UnidentifiedImageError:
        return Look(reason=f"it is no picture of a known kind ({', '.join(FORMATS)})")
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        return Look(reason=f"it has more than {Image.MAX_IMAGE_PIXELS:,} pixels")
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        return Look(reason=f"it is damaged ({error})")


def _oddity(image: Image.Image) -> str:
    if image.format == "GIF":
        return "GIF, its first frame is used"
    if image.has_transparency_data:
        return "transparent, laid over white"
    if image.mode == "CMYK":
        return "CMYK, made colour"
    if image.mode.startswith("I"):
        return "16 bits, the upper 8 are kept"
    return ""
