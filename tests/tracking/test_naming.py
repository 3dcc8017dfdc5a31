"""What users call runs."""

from kerasnn.tracking.folders import run_folders
from kerasnn.tracking.naming import meant, nearest


def test_word_stands_for_runs_by_id_then_by_name_the_better_first(tmp_path, leave):
    for number, (name, status) in enumerate([("mlp", "FINISHED"), ("mlp", "KILLED"), ("vgg", "FINISHED")]):
        leave(tmp_path / str(number), name, status=status, run_id=f"{number}234567890")
    runs = run_folders(tmp_path)

    def found(word):
        return {run.path.name for run in meant(word, runs, lambda run: run.status != "FINISHED")}

    assert found("0234567") == {"0"}
    assert found("023456") == set()  # Too short to be the beginning of an id.
    assert found("mlp") == {"1"}
    assert found("vgg") == {"2"}  # None is better.
    assert nearest("mpl", runs) == "did you mean 'mlp'? "
