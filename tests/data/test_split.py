import numpy as np

from kerasnn.data.split import hold_out, subset, subset_of_each

LABELS = np.repeat([0, 1, 2], [60, 30, 10])


def test_hold_out_takes_the_same_share_of_every_class():
    kept, held = hold_out(LABELS, 0.1, seed=0)
    # A tenth of 60, 30 and 10.
    assert np.bincount(LABELS[held]).tolist() == [6, 3, 1]
    assert sorted([*kept, *held]) == list(range(100))
    assert (np.diff(held) > 0).all()


def test_hold_out_is_fixed_by_labels_and_seed():
    # Written down once: a change here would move examples between splits and make old results incomparable.
    assert hold_out(LABELS, 0.1, seed=0)[1].tolist() == [2, 17, 20, 25, 32, 52, 74, 76, 77, 94]
    assert hold_out(LABELS, 0.1, seed=1)[1].tolist() != hold_out(LABELS, 0.1, seed=0)[1].tolist()


def test_hold_out_never_empties_a_class():
    labels = np.array([0, 1, 1, 2, 2, 2])
    kept, held = hold_out(labels, 0.5, seed=0)
    assert set(labels[kept]) == {0, 1, 2}
    assert set(labels[held]) == {1, 2}
    assert len(hold_out(labels, 0.0, seed=0)[1]) == 0


def test_subset_has_the_classes_in_their_shares_and_grows():
    small, large = subset(LABELS, 10, seed=0), subset(LABELS, 50, seed=0)
    assert np.bincount(LABELS[small]).tolist() == [6, 3, 1]
    assert np.bincount(LABELS[large]).tolist() == [30, 15, 5]
    assert set(small) < set(large)
    assert len(subset(LABELS, 7, seed=0)) == 7


def test_subset_of_each_class_is_of_one_size_and_grows():
    small, large = subset_of_each(LABELS, 2, seed=0), subset_of_each(LABELS, 10, seed=0)
    assert np.bincount(LABELS[small]).tolist() == [2, 2, 2]
    assert np.bincount(LABELS[large]).tolist() == [10, 10, 10]
    assert set(small) < set(large)
    assert (np.diff(large) > 0).all()
