"""Operations that are drawn for each picture: which, how strong, and that a picture meets no other."""

import numpy as np
import pytest
import tensorflow as tf

from kerasnn.augment import drawn, tone
from kerasnn.augment.drawn import MIXED, OPERATIONS, STANDARD, WIDE, AugMix, RandAugment, TrivialAugment, apply_drawn
from kerasnn.config.compose import compose
from kerasnn.errors import ConfigError

SEED = (3, 5)


def pictures(count: int, channels: int = 3, size: int = 12) -> tf.Tensor:
    rng = np.random.default_rng(2)
    coarse = tf.image.resize(rng.random((count, 4, 4, channels), np.float32), (size, size))
    return tf.round(tf.clip_by_value(coarse, 0, 1) * 255) / 255


def apply(images, names, strengths, signs, space=STANDARD):
    places = tf.constant([OPERATIONS.index(name) for name in names])
    return apply_drawn(images, places, tf.constant(strengths), tf.constant(signs), space, "constant")


def test_the_fourteen_are_those_of_the_paper():
    assert len(OPERATIONS) == len(set(OPERATIONS)) == 14
    assert set(OPERATIONS) == set(drawn.Operation.__args__)


@pytest.mark.parametrize("channels", [1, 3])
def test_each_picture_passes_through_its_own_operation(channels):
    # Twice all fourteen in a mixed order, in one batch; then each picture alone.
    order = np.random.default_rng(0).permutation(28) % 14
    names = [OPERATIONS[place] for place in order]
    images = pictures(28, channels, size=20)  # PIL leaves a picture of less than 255 pixels as it is.
    strengths = np.linspace(0.5, 1, 28).astype(np.float32).tolist()
    signs = [1.0, -1.0] * 14
    together = apply(images, names, strengths, signs)
    for index, name in enumerate(names):
        alone = apply(images[index : index + 1], [name], strengths[index : index + 1], signs[index : index + 1])
        np.testing.assert_allclose(together[index], alone[0], atol=1e-6, err_msg=name)
        changes = name not in ("identity", *(("colour",) if channels == 1 else ()))
        assert (not np.allclose(alone[0], images[index], atol=1e-3)) is changes, name


def test_no_picture_meets_an_operation_that_was_not_drawn(monkeypatch):
    met = []
    monkeypatch.setitem(drawn.TONES, "equalize", lambda x, *_: (met.append(x.shape[0]), x)[1])
    apply(pictures(5), ["rotate", "equalize", "identity", "equalize", "solarize"], [0.5] * 5, [1.0] * 5)
    assert met == [2]


def test_strengths_are_those_of_the_papers():
    image = pictures(1)
    one = tf.constant([1.0])

    def same(name, strength, sign, expected, space=STANDARD):
        np.testing.assert_allclose(apply(image, [name], [strength], [sign], space), expected, atol=1e-5)

    # RandAugment at 30 of 30: factors 1 ± 0.9, 8 - 4 bits, everything inverted; at 15: half of it.
    for name in ("brightness", "colour", "contrast", "sharpness"):
        same(name, 1.0, 1.0, getattr(tone, name)(image, one * 1.9))
        same(name, 0.5, -1.0, getattr(tone, name)(image, one * 0.55))
        same(name, 1.0, -1.0, getattr(tone, name)(image, one * 0.01), WIDE)
    same("posterize", 1.0, 1.0, tone.posterize(image, one * 4))
    same("posterize", 0.5, 1.0, tone.posterize(image, one * 6))
    same("posterize", 0.0, 1.0, image)
    same("posterize", 1.0, 1.0, tone.posterize(image, one * 2), WIDE)
    same("posterize", 0.3, 1.0, tone.posterize(image, one * 3), MIXED)  # 4 - round(4 · 0.3) bits
    same("solarize", 1.0, 1.0, 1 - image)
    same("solarize", 0.0, 1.0, image)


def test_moves_are_those_of_the_papers():
    # A dot right of and below the centre (10, 10) of a 21×21 picture, at (14, 12), on black.
    dot = np.zeros((1, 21, 21, 1), np.float32)
    dot[0, 12, 14] = 1
    rows, columns = np.mgrid[:21, :21]

    def landed(name, strength, sign, space=STANDARD):
        moved = apply(tf.constant(dot), [name], [strength], [sign], space).numpy()[0, :, :, 0]
        return (moved * columns).sum() / moved.sum(), (moved * rows).sum() / moved.sum()

    # A third of 21 is 7 pixels to the left, or up.
    np.testing.assert_allclose(landed("translate_x", 1.0, -1.0, MIXED), (7, 12), atol=1e-4)
    np.testing.assert_allclose(landed("translate_y", 1.0, -1.0, MIXED), (14, 5), atol=1e-4)
    # The wide space counts pixels: 32 · 0.125 = 4, whatever the size.
    np.testing.assert_allclose(landed("translate_x", 0.125, 1.0, WIDE), (18, 12), atol=1e-4)
    # About the corner: the point at (x, y) is taken from (x + 0.3 y, y), so the dot lands at 14 - 0.3 · 12 = 10.4.
    np.testing.assert_allclose(landed("shear_x", 1.0, 1.0), (10.4, 12), atol=0.05)
    np.testing.assert_allclose(landed("shear_y", 1.0, 1.0), (14, 12 - 0.3 * 14), atol=0.05)
    # From the centre the dot is (4, 2). The source of (x, y) is (x cos - y sin, x sin + y cos): turned by 30° the dot
    # lands where that is (4, 2), at (4 cos + 2 sin, 2 cos - 4 sin) = (4.46, -0.27).
    np.testing.assert_allclose(landed("rotate", 1.0, 1.0), (14.46, 9.73), atol=0.1)
    np.testing.assert_allclose(landed("rotate", 1.0, 1.0, WIDE), (10 - 2.83 + 1.41, 10 - 1.41 - 2.83), atol=0.1)


def test_operations_are_drawn_alike():
    # 14,000 draws of 14: 1,000 ± 30 each, five deviations apart.
    counts = np.bincount(drawn._draw(OPERATIONS, 14_000, tf.constant(SEED)).numpy(), minlength=14)
    assert counts.min() > 850
    assert counts.max() < 1_150
    signs = drawn._signs(tf.constant(1_000), tf.constant(SEED)).numpy()
    assert set(signs) == {-1.0, 1.0}
    assert abs(signs.mean()) < 0.16  # ± 0.032


def test_rand_augment_applies_its_number_of_operations():
    # Solarize at full strength inverts: once, or twice and so not at all.
    images = pictures(6)
    once, twice = (RandAugment(n, 30.0, ["solarize"])(images, tf.constant(SEED)) for n in (1, 2))
    np.testing.assert_allclose(once, 1 - images, atol=1e-6)
    np.testing.assert_allclose(twice, images, atol=1e-6)


def test_rand_augment_draws_both_signs_for_each_picture():
    grey = tf.fill((64, 4, 4, 1), 0.5)
    tones = RandAugment(1, 10.0, ["brightness"])(grey, tf.constant(SEED)).numpy()[:, 0, 0, 0]
    # 1 ± 0.9 · 10 / 30: 0.5 · 0.7 and 0.5 · 1.3.
    np.testing.assert_allclose(np.unique(tones.round(4)), [0.35, 0.65], atol=1e-4)


def test_trivial_augment_draws_31_strengths():
    # 1 ± 0.99 · k / 30 for k from 0 to 30, of a grey that is never cut off: 61 tones.
    grey = tf.fill((3_000, 2, 2, 1), 0.4)
    tones = TrivialAugment(["brightness"])(grey, tf.constant(SEED)).numpy()[:, 0, 0, 0]
    expected = 0.4 * (1 + 0.99 * np.arange(-30, 31) / 30)
    np.testing.assert_allclose(np.unique(tones.round(4)), expected, atol=1e-4)


def test_trivial_augment_applies_one_operation(monkeypatch):
    spaces = []
    monkeypatch.setattr(drawn, "apply_drawn", lambda images, *rest: (spaces.append(rest[-2]), images)[1])
    TrivialAugment()(pictures(4), tf.constant(SEED))
    assert spaces == [WIDE]


def test_augmix_stays_between_the_picture_and_its_chains():
    # Chains of moves alone, of a picture that is a single tone within a black border: every chain's pixels lie
    # between 0 and that tone, so those of the mixture do.
    images = tf.fill((16, 10, 10, 3), 0.8)
    mixed = AugMix()(images, tf.constant(SEED)).numpy()
    assert mixed.min() >= 0
    assert mixed.max() <= 1
    assert len({image.tobytes() for image in mixed}) >= 12


def test_augmix_chains_have_one_to_three_operations(monkeypatch):
    counted = []

    def count(images, drawn_, *rest):
        counted.append((drawn_ > 0).numpy())
        return images

    monkeypatch.setattr(drawn, "apply_drawn", count)
    images = pictures(200)
    np.testing.assert_allclose(AugMix()(images, tf.constant(SEED)), images, atol=1e-5)  # Untouched chains: itself.
    lengths = np.sum(counted, axis=0)
    # 600 chains, a third each of 1, 2 and 3: 200 ± 12.
    assert [int(np.sum(lengths == n)) in range(140, 260) for n in (1, 2, 3)] == [True] * 3
    assert lengths.min() == 1


def test_no_operations_are_refused():
    with pytest.raises(ConfigError, match="operations is empty"):
        RandAugment(operations=[])


def test_rand_augment_warps_once_per_operation(monkeypatch):
    fills = []
    monkeypatch.setattr(drawn, "warp", lambda images, matrices, fill: (fills.append(fill), images)[1])
    RandAugment(3)(pictures(4), tf.constant(SEED))
    assert fills == ["constant"] * 3


def test_operations_can_be_chosen_by_name():
    config = compose(["augment=randaugment", "augment.randaugment.operations=[rotate,equalize]"])
    (recipe,) = config.augment.values()
    assert recipe().operations == ["rotate", "equalize"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("augment.randaugment.operations=[rotat]", "must be a list of one of identity, rotate"),
        ("augment.randaugment.magnitude=31", "must be in 0 <= x <= 30"),
        ("augment.randaugment.num_ops=0", "must be in 1 <= x"),
        ("augment.randaugment.magnitud=5", "did you mean 'augment.randaugment.magnitude'"),
    ],
)
def test_mistaken_options_are_refused_before_tensorflow(override, message):
    with pytest.raises(ConfigError, match=message):
        compose(["augment=randaugment", override])
