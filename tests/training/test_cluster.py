"""Who takes part: from the config, from TF_CONFIG, from Slurm; and what each mistake says."""

import json
import re

import pytest

from kerasnn import cli
from kerasnn.config.schema import Strategy
from kerasnn.errors import ConfigError
from kerasnn.training.cluster import Cluster, open_cluster, slurm_hosts

TWO = ["hostA:12345", "hostB:12345"]


def workers(hosts=None, index=None, **further):
    return Strategy("multi_worker", workers=hosts, index=index, **further)


def tf_config(jobs, kind="worker", index=0):
    return {"TF_CONFIG": json.dumps({"cluster": jobs, "task": {"type": kind, "index": index}})}


def slurm(nodes, tasks, index, **further):
    return {
        "SLURM_STEP_NODELIST": nodes,
        "SLURM_STEP_TASKS_PER_NODE": tasks,
        "SLURM_PROCID": str(index),
        "SLURM_JOB_ID": "7",
        **further,
    }


def test_one_machine_needs_no_cluster():
    assert open_cluster(Strategy("mirrored"), tf_config({"worker": TWO})) is None


def test_config_names_the_workers_and_which_this_is():
    cluster = open_cluster(workers(TWO, 1), {})
    assert cluster == Cluster(("hostA:12345", "hostB:12345"), 1)
    assert (cluster.chief, cluster.name(), cluster.name(0)) == (
        False,
        "worker 1 (hostB:12345)",
        "worker 0 (hostA:12345)",
    )


def test_tf_config_puts_its_chief_before_its_workers():
    jobs = {"chief": ["c:1"], "worker": ["a:1", "b:1"]}
    assert open_cluster(workers(), tf_config(jobs, "chief", 0)) == Cluster(("c:1", "a:1", "b:1"), 0)
    assert open_cluster(workers(), tf_config(jobs, "worker", 1)) == Cluster(("c:1", "a:1", "b:1"), 2)


def test_config_and_tf_config_may_say_the_same():
    assert open_cluster(workers(TWO, 1), tf_config({"worker": TWO}, index=1)).index == 1


def test_slurm_gives_each_task_of_a_node_a_port_of_its_own():
    # Two tasks on each of n01 and n02, one on n03: task 3 is the second one of n02.
    cluster = open_cluster(workers(port=9000), slurm("n[01-03]", "2(x2),1", 3, SLURM_NODEID="1", SLURM_LOCALID="1"))
    assert cluster == Cluster(("n01:9000", "n01:9001", "n02:9000", "n02:9001", "n03:9000"), 3)


def test_two_jobs_of_slurm_on_one_node_get_other_ports():
    one, other = (open_cluster(workers(), {**slurm("n1", "2", 0), "SLURM_JOB_ID": job}) for job in ("7", "8"))
    assert not set(one.workers) & set(other.workers)


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("node7", ["node7"]),
        ("node[01-03,7]", ["node01", "node02", "node03", "node7"]),
        ("login,gpu[9-11]", ["login", "gpu9", "gpu10", "gpu11"]),
        ("n[098-101]-ib", ["n098-ib", "n099-ib", "n100-ib", "n101-ib"]),
        ("r[1-2]n[5,6]", ["r1n5", "r1n6", "r2n5", "r2n6"]),
        ("gpu-a01.cluster", ["gpu-a01.cluster"]),
    ],
)
def test_slurm_hosts_reads_the_short_form(text, hosts):
    assert slurm_hosts(text) == hosts


@pytest.mark.parametrize("text", ["node[01-03", "node]3[", "node[a-b]", "node[1--3]", "a,,b", "node[[1]]"])
def test_slurm_hosts_refuses_what_it_cannot_read(text):
    with pytest.raises(ConfigError, match=re.escape("such as node[01-03,7]")):
        slurm_hosts(text)


@pytest.mark.parametrize(
    ("strategy", "environment", "message"),
    [
        (workers(), {}, "strategy=multi_worker does not know its workers: give strategy.workers=[hostA:12345,"),
        (workers(TWO), {}, "names 2 workers, but not which of them this is: add strategy.index=0 on hostA:12345"),
        (workers(index=0), {}, "strategy.index=0 counts strategy.workers, which are not given"),
        (workers(TWO, 2), {}, "strategy.index=2 is out of range: there are 2 workers, 0 to 1"),
        (workers([], 0), {}, "strategy.index=0 is out of range: there are 0 workers"),
        (workers(["a:1", "a:1"], 0), {}, "a:1 is named twice among the workers"),
        (workers(["a:1", "b"], 0), {}, "the worker 'b' has no port: write host:port, such as b:12345"),
        (workers(["a:1", "b:"], 0), {}, "the worker 'b:' needs a port from 1 to 65535"),
        (workers(["a:1", "b:70000"], 0), {}, "the worker 'b:70000' needs a port from 1 to 65535"),
        (workers(TWO, 0), tf_config({"worker": TWO}, index=1), "index 1) differ: keep one of them"),
        (workers(), {"TF_CONFIG": "{"}, "TF_CONFIG is not what TensorFlow takes (JSONDecodeError"),
        (workers(), {"TF_CONFIG": "{}"}, "TF_CONFIG is not what TensorFlow takes (KeyError: 'cluster')"),
        (workers(), tf_config({"worker": TWO, "ps": ["c:1"]}), "a task or job 'ps': kerasnn knows chief and worker"),
        (workers(), {"SLURM_STEP_NODELIST": "n1"}, "Slurm's environment is incomplete ('SLURM_PROCID')"),
        (workers(), slurm("n[1-2]", "1(x3)", 0), "Slurm names 2 nodes, but tasks of 3"),
        (
            workers(),
            slurm("n[1-2]", "2(x2)", 1, SLURM_NODEID="1", SLURM_LOCALID="0"),
            "task 1 is not where blocks would put it: add srun --distribution=block",
        ),
        (
            Strategy("mirrored", workers=TWO),
            {},
            "strategy.workers=[hostA:12345,hostB:12345] needs strategy=multi_worker",
        ),
        (Strategy(index=0), {}, "strategy.index=0 needs strategy=multi_worker"),
    ],
)
def test_what_cannot_be_meant_is_one_line(strategy, environment, message):
    with pytest.raises(ConfigError, match=re.escape(message)) as raised:
        open_cluster(strategy, environment)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "strategy=multi_worker does not know its workers"),
        (["strategy.workers=[a:1,b:1,c:1]", "strategy.index=0"], "cannot be shared by 3 devices: take 126 or 129"),
        (["-m", "strategy.workers=[a:1,b:1]", "strategy.index=0", "seed=0,1"], "cannot sweep with -m"),
        (["strategy.workers=[a:1,b:1]", "strategy.index=0", "model=dbn"], "model.pretrain is for one machine"),
    ],
)
def test_command_line_says_it_before_anything_is_started(words, message, capsys, monkeypatch, tmp_path):
    for name in ("TF_CONFIG", "SLURM_STEP_NODELIST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    assert cli.main([*words, "strategy=multi_worker"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not list(tmp_path.iterdir())
