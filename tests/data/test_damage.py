"""Which files pass as whole pictures, and which are told to be damaged."""

import numpy as np
import pytest
from PIL import Image

from kerasnn.data.decode import decode
from kerasnn.data.pictures import look
from kerasnn.errors import DataError

RANDOM = np.random.RandomState(0)
END = b"\xff\xd9"


def save(path, height: int = 64, width: int = 96, mode: str = "RGB", **options) -> bytes:
    image = Image.fromarray(RANDOM.randint(0, 256, (height, width, 3)).astype(np.uint8)).convert(mode)
    image.save(path, **options)
    return path.read_bytes()


JPEGS = [
    {},
    {"progressive": True},
    {"quality": 5, "subsampling": 0},
    {"optimize": True, "subsampling": 2},
    {"restart_marker_blocks": 3},
    {"mode": "L"},
    {"mode": "CMYK"},
    {"height": 1, "width": 1},
    {"height": 17, "width": 200, "exif": b"Exif\0\0" + END},
]


@pytest.mark.parametrize("options", JPEGS, ids=str)
def test_whole_jpeg_passes_whatever_its_form(tmp_path, options):
    path = tmp_path / "whole.jpg"
    content = save(path, **options)
    assert not look(path).reason
    # Cameras append previews and notes of their own, some with end markers in them.
    path.write_bytes(content + b"\0\0note" + END)
    assert not look(path).reason


def test_even_grey_jpeg_passes_though_it_looks_like_one_that_was_filled_in(tmp_path):
    Image.new("RGB", (300, 200), (128, 128, 128)).save(tmp_path / "grey.jpg")
    assert not look(tmp_path / "grey.jpg").reason


@pytest.mark.parametrize("end", [b"", END], ids=["open", "closed"])
@pytest.mark.parametrize("options", JPEGS[:7], ids=str)
def test_cut_jpeg_is_damaged_even_with_an_end_marker(tmp_path, options, end):
    path = tmp_path / "cut.jpg"
    content = save(path, **options)
    path.write_bytes(content[: len(content) // 2] + end)
    assert "it is damaged (image file is truncated" in look(path).reason
    if end:  # Pillow fills the rest with grey and says nothing.
        assert decode(str(path), 3).shape == (64, 96, 3)


def test_png_with_flipped_bytes_is_damaged(tmp_path):
    path = tmp_path / "flipped.png"
    content = bytearray(save(path))
    assert not look(path).reason
    middle = len(content) // 2
    content[middle : middle + 2] = bytes(byte ^ 0xFF for byte in content[middle : middle + 2])
    path.write_bytes(content)
    assert content.endswith(b"IEND\xaeB`\x82")
    assert "it is damaged (broken PNG file" in look(path).reason


@pytest.mark.parametrize("kind", ["png", "gif", "bmp", "webp", "tiff", "ppm"])
def test_cut_file_of_any_format_is_damaged(tmp_path, kind):
    path = tmp_path / f"cut.{kind}"
    content = save(path)
    assert not look(path).reason
    path.write_bytes(content[: len(content) // 2])
    assert look(path).reason
    with pytest.raises(DataError):
        decode(str(path), 3)
