from kerasnn.config.leaves import leaves


def test_leaves_have_the_keys_that_one_sets_them_by():
    values = {"seed": 0, "model": {"widths": [4, 8], "head": {"units": 3}}, "callbacks": {}}
    assert dict(leaves(values)) == {"seed": 0, "model.widths": [4, 8], "model.head.units": 3, "callbacks": {}}
    assert list(leaves({"depth": 2}, "model.")) == [("model.depth", 2)]
