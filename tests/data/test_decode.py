import numpy as np
import pytest
from PIL import Image

from kerasnn.data.bundle import ArrayExamples, FileExamples
from kerasnn.data.decode import decode, fit, fit_batch, load_examples
from kerasnn.errors import DataError

RANDOM = np.random.RandomState(0)


def picture(height: int, width: int, channels: int = 3) -> np.ndarray:
    return RANDOM.randint(0, 256, (height, width, channels)).astype(np.uint8)


def test_pad_surrounds_a_smaller_picture_with_zeros():
    image = picture(28, 28, 1)
    result = fit(image, 32, "pad")
    assert (result[2:30, 2:30] == image).all()
    assert result.sum() == image.sum()
    # An odd rest goes to the bottom and the right.
    assert (fit(image[:27, :27], 32, "pad")[2:29, 2:29] == image[:27, :27]).all()


def test_pad_shrinks_a_larger_picture_and_keeps_its_proportions():
    result = fit(np.full((40, 80, 3), 200, np.uint8), 20, "pad")
    # 40×80 to 10×20, with five empty rows above and below.
    assert (result[5:15] == 200).all()
    assert not result[:5].any()
    assert not result[15:].any()


def test_stretch_brings_both_sides_to_size():
    image = np.zeros((4, 2, 1), np.uint8)
    image[:, 1] = 200
    result = fit(image, 8, "stretch")
    assert result.shape == (8, 8, 1)
    # Bilinear across: the middles of the two pixels lie at 2 and 6 of 8.
    assert result[0, :, 0].tolist() == [0, 0, 25, 75, 125, 175, 200, 200]


def test_crop_keeps_the_middle():
    image = np.zeros((10, 30, 1), np.uint8)
    image[:, 10:20] = 255
    assert (fit(image, 10, "crop") == 255).all()
    assert fit(picture(7, 5), 10, "crop").shape == (10, 10, 3)


def test_fit_leaves_a_picture_of_the_right_size_alone():
    image = picture(8, 8)
    for resize in ("pad", "stretch", "crop"):
        assert (fit(image, 8, resize) == image).all()


@pytest.mark.parametrize("resize", ["pad", "stretch", "crop"])
def test_batch_and_single_picture_agree(resize):
    images = np.stack([picture(20, 30) for _ in range(9)])
    batch = fit_batch(images, (16, 16), resize)
    assert all((fit(image, 16, resize) == result).all() for image, result in zip(images, batch, strict=True))


def test_load_examples_gives_arrays_and_files_alike(tmp_path):
    images = np.stack([picture(12, 12) for _ in range(5)])
    paths = []
    for i, image in enumerate(images):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(image).save(paths[-1])
    labels = np.arange(5, dtype=np.int32)
    files = load_examples(FileExamples(tuple(paths), labels), (16, 16, 3), "pad")
    assert (files == load_examples(ArrayExamples(images, labels), (16, 16, 3), "pad")).all()
    assert files.dtype == np.uint8
    assert load_examples(FileExamples((), labels[:0]), (16, 16, 3), "pad").shape == (0, 16, 16, 3)
    with pytest.raises(DataError, match="pictures have 3 channels, the model's input has 1"):
        load_examples(ArrayExamples(images, labels), (16, 16, 1), "pad")


def save(path, image, **options) -> str:
    image.save(path, **options)
    return str(path)


def test_decode_converts_what_is_odd(tmp_path):
    grey = Image.fromarray(np.full((4, 6), 90, np.uint8))
    assert decode(save(tmp_path / "grey.png", grey), 3).tolist() == np.full((4, 6, 3), 90).tolist()
    # Half transparent black over white is mid-grey; fully transparent is white.
    clear = Image.new("RGBA", (2, 2), (0, 0, 0, 128))
    clear.putpixel((0, 0), (10, 20, 30, 0))
    rgba = decode(save(tmp_path / "clear.png", clear), 3)
    assert rgba[0, 0].tolist() == [255, 255, 255]
    assert rgba[1, 1].tolist() == [127, 127, 127]
    # Of 0x1234 the upper byte stays.
    deep = Image.fromarray(np.full((4, 4), 0x1234, np.uint16))
    assert np.unique(decode(save(tmp_path / "deep.png", deep), 1)).tolist() == [0x12]
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red = decode(save(tmp_path / "cmyk.jpg", cmyk, quality=95), 3).mean((0, 1))
    assert red == pytest.approx((255, 0, 0), abs=8)
    frames = [Image.new("P", (4, 4), i) for i in range(2)]
    for frame in frames:
        frame.putpalette([0, 0, 255, 0, 255, 0])
    gif = save(tmp_path / "moving.gif", frames[0], save_all=True, append_images=frames[1:])
    assert np.unique(decode(gif, 3).reshape(-1, 3), axis=0).tolist() == [[0, 0, 255]]


def test_decode_applies_exif_rotation(tmp_path):
    image = Image.new("RGB", (40, 20), "black")
    exif = image.getexif()
    exif[0x0112] = 6  # Turned a quarter: stored 40 wide and 20 high, shown 20 wide and 40 high.
    path = save(tmp_path / "turned.jpg", image, exif=exif)
    assert decode(path, 3).shape == (40, 20, 3)


def test_decode_of_a_large_jpeg_keeps_at_least_twice_the_size_asked_for(tmp_path):
    smooth = np.linspace(0, 255, 512).astype(np.uint8)
    path = save(tmp_path / "large.jpg", Image.fromarray(np.broadcast_to(smooth, (512, 512)).copy()), quality=95)
    small = decode(path, 1, smallest=(32, 32))
    assert small.shape == (64, 64, 1)
    exact = fit(decode(path, 1), 32, "stretch").astype(int)
    assert np.abs(fit(small, 32, "stretch").astype(int) - exact).max() <= 3


@pytest.mark.parametrize("content", [b"", b"not a picture", None])
def test_decode_names_the_file_it_cannot_read(tmp_path, content):
    path = tmp_path / "broken.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.jpg cannot be decoded") as caught:
        decode(str(path), 3)
    assert "\n" not in str(caught.value)
