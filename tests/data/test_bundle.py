import numpy as np
import pytest

from kerasnn.data.bundle import ArrayExamples, FileExamples, Source, make_bundle
from kerasnn.data.synthetic import synthetic
from kerasnn.errors import DataError


def source(count: int = 100, classes: int = 4, **changes) -> Source:
    # Each picture is filled with its own number, so that splits can be compared by content.
    images = np.tile(np.arange(count, dtype=np.uint8)[:, None, None, None], (1, 6, 6, 1))
    train = ArrayExamples(images, (np.arange(count) % classes).astype(np.int32))
    return Source("toy", train, tuple(f"class{i}" for i in range(classes)), **changes)


def numbers(examples: ArrayExamples) -> set[int]:
    return set(examples.images[:, 0, 0, 0].tolist())


def test_bundle_splits_are_disjoint_and_complete():
    bundle = make_bundle(source())
    splits = [numbers(examples) for examples in bundle.splits.values()]
    # A fifth for the test, then a tenth of the remaining 80 for validation.
    assert [len(split) for split in splits] == [72, 8, 20]
    assert set.union(*splits) == set(range(100))


def test_bundle_keeps_the_splits_that_a_source_has():
    test = ArrayExamples(np.full((4, 6, 6, 1), 200, np.uint8), np.arange(4, dtype=np.int32))
    validation = ArrayExamples(np.full((8, 6, 6, 1), 210, np.uint8), np.arange(8, dtype=np.int32) % 4)
    assert make_bundle(source(test=test)).test is test
    bundle = make_bundle(source(test=test, validation=validation))
    assert bundle.validation is validation
    assert len(bundle.train) == 100


def test_bundle_hashes_are_stable_and_differ_between_splits():
    first, second = make_bundle(source()).hashes, make_bundle(source()).hashes
    assert first == second
    assert len(set(first.values())) == 3
    other = source()
    other.train.images[0, 0, 0, 0] ^= 1
    assert make_bundle(other).hashes != first


def test_bundle_train_examples_takes_a_share_of_every_class_and_leaves_the_hold_out():
    whole, part = make_bundle(source()), make_bundle(source(), train_examples=20)
    assert np.bincount(part.train.labels).tolist() == [5, 5, 5, 5]
    assert numbers(part.train) < numbers(whole.train)
    assert part.hashes["validation"] == whole.hashes["validation"]
    assert part.hashes["test"] == whole.hashes["test"]


def test_bundle_statistics_are_of_the_pictures_as_the_model_sees_them():
    images = np.zeros((40, 2, 2, 3), np.uint8)
    images[..., 0] = 255
    images[::2, ..., 1] = 255
    bundle = make_bundle(Source("toy", ArrayExamples(images, np.arange(40, dtype=np.int32) // 20), ("a", "b")))
    # Red is always full, green is full in half of the pictures or so, blue never.
    share = (bundle.train.images[..., 1] == 255).mean()
    assert bundle.mean == pytest.approx((1, share, 0))
    # A channel that never changes has deviation 0, which nothing may be divided by: one grey level stands for it.
    assert bundle.deviation == pytest.approx((1 / 255, np.sqrt(share * (1 - share)), 1 / 255))
    padded = make_bundle(Source("toy", ArrayExamples(images, np.arange(40, dtype=np.int32) // 20), ("a", "b")), 4)
    # 2×2 in the middle of 4×4: a quarter of the pixels.
    assert padded.mean[0] == pytest.approx(0.25)


def test_bundle_input_shape_follows_image_size():
    assert make_bundle(source()).input_shape == (6, 6, 1)
    assert make_bundle(source(), image_size=8).input_shape == (8, 8, 1)


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({"count": 8, "classes": 1}, {}, "toy has 1 class, a classifier needs at least 2"),
        ({}, {"train_examples": 73}, "data.train_examples=73 is more than the 72 that toy has to train on"),
        ({}, {"train_examples": 3}, "data.train_examples=3 is too few for the 4 classes of toy"),
        (
            {},
            {"validation_fraction": 0.0},
            r"no example left for validation: add some, or raise data\.validation_fraction",
        ),
    ],
)
def test_bundle_says_in_one_line_what_does_not_fit(changes, arguments, message):
    with pytest.raises(DataError, match=message) as caught:
        make_bundle(source(**changes), **arguments)
    assert "\n" not in str(caught.value)


def test_bundle_refuses_a_class_without_training_examples():
    lacking = source()
    lacking.train.labels[lacking.train.labels == 2] = 1
    with pytest.raises(DataError, match="no training example of the class 'class2'"):
        make_bundle(lacking)


def test_bundle_blames_train_examples_for_a_class_that_it_leaves_empty():
    # Each hold-out takes one of the four rare ones: 69 and 2 stay to train on, and 2 / 71 of 10 rounds to none.
    labels = np.zeros(100, np.int32)
    labels[:4] = 1
    rare = source(classes=2)
    rare.train.labels[:] = labels
    message = (
        r"data\.train_examples=10 leaves no training example of the class 'class1', .* give 36 or more, at most 71"
    )
    with pytest.raises(DataError, match=message):
        make_bundle(rare, train_examples=10)
    assert np.bincount(make_bundle(rare, train_examples=36).train.labels).tolist() == [35, 1]


def test_bundle_refuses_labels_without_a_name():
    with pytest.raises(DataError, match=r"labels 0\.\.3 in train, but 3 class names: labels must be 0\.\.2"):
        make_bundle(Source("toy", source().train, ("a", "b", "c")))


def test_bundle_of_files_needs_a_size_and_distinct_splits():
    files = FileExamples(tuple(f"{i}.png" for i in range(10)), np.arange(10, dtype=np.int32) % 2)
    with pytest.raises(DataError, match=r"give data\.image_size=64"):
        make_bundle(Source("folder", files, ("a", "b")))
    other = FileExamples(("10.png",), np.array([0], np.int32))
    with pytest.raises(DataError, match=r"folder has 0\.png in train and in test"):
        make_bundle(Source("folder", files, ("a", "b"), test=files, validation=other), 8)


def test_synthetic_is_deterministic_and_learnable():
    first, second = (synthetic(examples=600, image_size=16, channels=1, num_classes=4) for _ in range(2))
    assert (first.train.images == second.train.images).all()
    assert (first.train.images != synthetic(examples=600, image_size=16, channels=1, seed=1).train.images).any()
    assert first.train.images.dtype == np.uint8

    def slopes(images):  # How much light changes across and along: a feature that knows nothing of the phase.
        grey = images[..., 0] / 255
        return np.stack([(np.diff(grey, axis=2) ** 2).mean((1, 2)), (np.diff(grey, axis=1) ** 2).mean((1, 2))], 1)

    train, test = slopes(first.train.images), slopes(first.test.images)
    centres = np.stack([train[first.train.labels == c].mean(0) for c in range(4)])
    guess = ((test[:, None] - centres) ** 2).sum(-1).argmin(1)
    # 45 and 135 degrees look alike to this feature, so three quarters is what it can reach; chance is one quarter.
    assert (guess == first.test.labels).mean() > 0.5
    assert make_bundle(first).num_classes == 4
