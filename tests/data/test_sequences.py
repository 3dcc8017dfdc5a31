import numpy as np
import pytest

from kerasnn.data.bundle import make_bundle
from kerasnn.data.sequences import sequences
from kerasnn.errors import DataError


def strings(examples, tokenizer):
    """Source, fed target and labels of each example, as text."""
    for (source, fed), labels in zip(examples.tokens, examples.labels, strict=True):
        yield tokenizer.decode(source), tokenizer.decode(fed), tokenizer.decode(labels)


@pytest.mark.parametrize(
    ("task", "length", "answer"),
    [
        # Five digits and [CLS] before them; two numbers of five digits and the sign between them.
        ("reverse", 6, lambda source: source[::-1]),
        ("sort", 6, lambda source: "".join(sorted(source))),
        ("add", 11, lambda source: str(int(source.split("+")[0]) + int(source.split("+")[1]))),
    ],
)
def test_sequences_pose_the_task_and_hold_its_answer(task, length, answer):
    bundle = make_bundle(sequences(task, examples=300, digits=5))
    # Eleven characters and five special tokens.
    assert (bundle.kind, bundle.input_shape, bundle.num_classes) == ("tokens", (2, length), 16)
    assert [len(examples) for examples in bundle.splits.values()] == [240, 30, 30]
    for examples in bundle.splits.values():
        for source, fed, labels in strings(examples, bundle.tokenizer):
            assert fed == labels == answer(source)


def test_sequences_feed_the_target_one_step_late():
    train = sequences("reverse", examples=50, digits=4).train
    fed, labels = train.tokens[:, 1], train.labels
    assert (fed[:, 0] == 2).all()  # [CLS]
    inside = labels[:, :-1] > 3
    np.testing.assert_array_equal(fed[:, 1:][inside], labels[:, :-1][inside])
    ends = (labels == 3).argmax(axis=1)  # [SEP], once in each row; behind it no label, and padding.
    assert ((labels == 3).sum(axis=1) == 1).all()
    for row, end in enumerate(ends):
        assert (labels[row, end + 1 :] == -1).all()
        assert (fed[row, end + 1 :] == 0).all()
        assert (fed[row, : end + 1] > 0).all()
    # Between half of the digits and all of them.
    assert set(ends) == {2, 3, 4}


@pytest.mark.parametrize("task", ["reverse", "sort", "add"])
def test_sequences_share_no_source_between_splits(task):
    # With two digits there are 10 + 100 strings; the half of them that may be asked for is drawn without repetition.
    source = sequences(task, examples=55, digits=2)
    splits = (source.train, source.validation, source.test)
    found = ["+".join(sorted(s.split("+"))) for part in splits for s, _, _ in strings(part, source.tokenizer)]
    assert len(set(found)) == 55


def test_sequences_are_the_same_for_the_same_seed():
    first, second = (make_bundle(sequences(examples=100, dir="ignored")).hashes for _ in range(2))
    assert first == second
    assert len({*first.values(), *make_bundle(sequences(examples=100, seed=1)).hashes.values()}) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        # 10 strings of one digit, 55 pairs of them.
        ({"digits": 1, "examples": 10}, r"data\.examples=10 must be at least 10, and at most 5, which is half of what"),
        ({"digits": 1, "examples": 28, "task": "add"}, r"at most 27, .* data\.task=add has with data\.digits=1"),
        ({"examples": 9}, "must be at least 10"),
    ],
)
def test_sequences_name_what_there_is(arguments, message):
    with pytest.raises(DataError, match=message):
        sequences(**arguments)


def test_sequences_of_addition_may_be_used_up_to_half():
    # 55 pairs of digits, of which 27 are half.
    assert len(sequences("add", digits=1, examples=27).train) == 23
