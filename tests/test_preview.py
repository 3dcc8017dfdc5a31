"""`kerasnn preview`: the picture, what it shows, and its errors."""

import numpy as np
import pytest
from PIL import Image

from kerasnn import preview
from kerasnn.analysis import figures
from kerasnn.augment.mix import MixUp
from kerasnn.augment.policy import Policy
from kerasnn.augment.preview import augmented_grid, caption
from kerasnn.data.bundle import make_bundle
from kerasnn.data.stream import batch_at
from kerasnn.data.synthetic import synthetic
from kerasnn.errors import ConfigError

DATA = ["data=synthetic", "data.examples=60", "trainer.batch_size=16"]


@pytest.fixture
def drawn(monkeypatch):
    """What was handed to the grid: images and titles."""
    seen = {}

    def grid(images, titles, columns):
        seen.update(images=images, titles=titles, columns=columns)
        return image_grid(images, titles, columns)

    image_grid = figures.image_grid
    monkeypatch.setattr(figures, "image_grid", grid)
    return seen


def test_preview_writes_a_grid_of_pictures_and_draws(tmp_path, monkeypatch, capsys, drawn):
    monkeypatch.chdir(tmp_path)
    assert preview.main([*DATA, "augment=[flip_crop,noise]", "--pictures", "4", "--draws", "3"]) == 0
    path = capsys.readouterr().out.strip()
    assert path == "runs/preview/synthetic_flip_crop+noise.png"
    with Image.open(tmp_path / path) as image:
        assert min(image.size) > 300
    # Four rows of an original and three draws, no two alike.
    assert drawn["columns"] == 4
    assert len(drawn["images"]) == 16
    assert len({image.tobytes() for image in drawn["images"]}) == 16
    assert [bool(title) for title in drawn["titles"]] == [True, False, False, False] * 4


def test_preview_of_mixed_pictures_names_their_shares(tmp_path, drawn):
    path = tmp_path / "grid.png"
    arguments = [*DATA, "augment=mixup", "augment.mixup.alpha=1.0", "--out", str(path), "--draws", "2"]
    assert preview.main(arguments) == 0
    assert path.exists()
    assert any(" %" in title and "\n" in title for title in drawn["titles"])


def test_preview_shows_the_first_batch_of_the_run(tmp_path, drawn):
    preview.main([*DATA, "augment=noise", "seed=3", "--out", str(tmp_path / "grid.png"), "--pictures", "2"])
    bundle = make_bundle(synthetic(examples=60))
    from kerasnn.augment.image import Noise

    images, _ = batch_at(bundle, seed=3, batch_size=16, epoch=0, step=0, augment=Policy({"noise": Noise(0.05)}))
    shown = (drawn["images"][1] / 255 - np.array(bundle.mean)) / np.array(bundle.deviation)
    np.testing.assert_allclose(shown, images[0], atol=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["augment=strng"], r"unknown augment 'strng': did you mean 'strong'\?"),
        (["augment=flip,noise"], "gives several values"),
        (["--draw", "0"], "--draws 0 must be 1 or more"),
        (["--pictures", "two"], "invalid int value"),
        (["data=sequences", "model=transformer_small"], "gives tokens"),
        (["augment=channel_shuffle"], r"ChannelShuffle cannot take pictures of \(.*1\)"),
    ],
)
def test_preview_mistake_is_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message) as raised:
        preview.main(arguments)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "runs").exists()


def test_caption_is_the_class_or_the_two_largest_shares():
    names = ["plane", "car", "bird"]
    assert caption(np.int32(2), names) == "bird"
    assert caption(np.array([0.0, 1.0, 0.0]), names) == "car"
    assert caption(np.array([0.05, 0.7, 0.25]), names) == "70 % car\n25 % bird"


def test_grid_of_a_policy_that_mixes_has_shares_of_each_picture():
    bundle = make_bundle(synthetic(examples=60))
    policy = Policy({"mixup": MixUp(1.0)}, bundle.num_classes)
    images, shares = augmented_grid(bundle, policy, seed=0, count=5, draws=2)
    assert images.shape[:2] == (5, 3)
    assert shares.shape == (5, 3, bundle.num_classes)
    np.testing.assert_allclose(shares.sum(axis=2), 1, atol=1e-5)
    assert set(np.unique(shares[:, 0])) == {0, 1}  # The originals are whole.
    assert not np.array_equal(shares[:, 1], shares[:, 2])
