"""Fine-tuning: what each phase lets learn, and that the rest does not change by a bit."""

import json
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
import pytest
from checks import count, draw

from kerasnn.config.compose import compose
from kerasnn.config.recipe import Recipe
from kerasnn.config.schema import Finetune
from kerasnn.errors import ConfigError, ModelError
from kerasnn.models import catalogue
from kerasnn.models.bert import bert
from kerasnn.models.gpt import gpt
from kerasnn.models.mlp import mlp
from kerasnn.models.perceptron import perceptron
from kerasnn.models.resnet import resnet_cifar
from kerasnn.tracking.tracker import MemoryTracker
from kerasnn.training.finetune import add_lora, factor_of, plan, prepare, stages
from kerasnn.training.run import run

NORM_KINDS = {"moving": ("moving_mean", "moving_variance"), "scales": ("gamma", "beta")}


def network(num_classes=3):
    """Stages conv1 (the stem), conv2, conv3 and conv4, with four filters each."""
    return resnet_cifar("resnet20", (16, 16, 3), num_classes, depth=1, widths=(4, 4, 4))


def values(model):
    """Every weight by path."""
    return {weight.path: weight.numpy() for weight in model.weights}


def changed(before, model):
    return {path for path, value in values(model).items() if not np.array_equal(before[path], value)}


def train(model, steps=2, optimizer="sgd"):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=False)
    inputs, labels = draw((8 * steps, *model.input_shape[1:])), np.arange(8 * steps) % 3
    model.fit(inputs, labels, batch_size=8, verbose=0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet50", "conv1 conv2 conv3 conv4 conv5"),
        ("densenet121", "conv1 conv2 conv3 conv4 conv5"),
        ("vgg16", "block1 block2 block3 block4 block5 fc1 fc2"),
        ("efficientnet_b0", "stem block1 block2 block3 block4 block5 block6 block7"),
        ("mobilenet_v2", "stem " + " ".join(f"block_{number}" for number in range(1, 17))),
        ("convnext_tiny", "stem stage_0 stage_1 stage_2 stage_3"),
        ("googlenet", "conv1 conv2 inception_3 inception_4 inception_5"),
        ("alexnet", "conv1 conv2 conv3 conv4 conv5 fc1 fc2"),
        ("lenet5", "c1 c3 c5 f6"),
        ("vit_tiny", "stem " + " ".join(f"block{number}" for number in range(1, 13))),
        ("bert", "stem transformer_layer_0 transformer_layer_1"),
    ],
)
def test_stages_are_those_that_a_papers_table_has(name, expected):
    with keras.StatelessScope(initialize_variables=False):
        model = catalogue.CATALOGUE[name].build()
    assert " ".join(stages(model)) == expected


def test_plan_divides_the_epochs_and_opens_the_stages_from_the_top():
    model = network()
    settings = Finetune(head_epochs=2, unfreeze=["conv4", "stage2", "all"], factor=0.1, layer_decay=0.5)
    head, top, middle, whole = plan(settings, model, (), epochs=9)
    # Seven epochs are left for three phases: two, two, and the odd one to the last.
    assert [(p.name, p.epochs) for p in (head, top, middle, whole)] == [
        ("head", 2), ("conv4", 2), ("stage2", 2), ("all", 3),
    ]  # fmt: skip
    known = stages(model)
    assert head.learns == {"predictions"}
    assert top.learns == {"predictions", *known["conv4"]}
    assert middle.learns == {"predictions", *known["conv4"], *known["conv3"], *known["conv2"]}
    assert whole.learns == middle.learns | set(known["conv1"])
    assert (head.factor, whole.factor) == (1.0, 0.1)
    # Below the head lie conv4, conv3, conv2, conv1: one to four times the decay.
    assert whole.factors["conv4_block1_1_conv"] == 0.5
    assert whole.factors["conv1_conv"] == 0.0625
    assert "predictions" not in whole.factors
    factor = factor_of(model, whole)
    assert factor(model.get_layer("conv3_block1_1_conv").kernel) == 0.25
    assert factor(model.get_layer("predictions").kernel) == 1.0


def test_plan_without_stages_is_the_head_alone_and_without_settings_everything():
    model = network()
    (phase,) = plan(Finetune(unfreeze=None), model, (), epochs=5)
    assert (phase.epochs, phase.learns) == (5, {"predictions"})
    (phase,) = plan(None, model, (), epochs=5)
    assert (phase.epochs, phase.factor, phase.factors, phase.learns) == (5, 1.0, {}, None)


def test_layers_without_weights_learn_from_the_first_phase_on():
    model = network()
    head, *_ = plan(Finetune(), model, ["conv2_block1_1_conv", "conv2_block1_1_bn"], epochs=5)
    assert head.learns == {"predictions", "conv2_block1_1_conv", "conv2_block1_1_bn"}
    prepare(model, head, Finetune(), ["conv2_block1_1_conv", "conv2_block1_1_bn"])
    # A normalization that was trained by nobody has to learn its scale and its statistics, frozen or not.
    assert model.get_layer("conv2_block1_1_bn").trainable
    assert not model.get_layer("conv2_block1_2_bn").trainable


@pytest.mark.parametrize(
    ("settings", "build", "message"),
    [
        (
            {"unfreeze": "conv6"},
            network,
            r"unknown stage of resnet20 \(finetune.unfreeze\) 'conv6': did you mean 'conv",
        ),
        ({"unfreeze": ["conv3", "conv4"]}, network, r"must go down, stage by stage, such as \[conv4,conv3,all\]"),
        (
            {},
            lambda: gpt("gpt", (8,), 20, depth=1, width=8, num_heads=2),
            "gpt has no head of its own to learn first: set finetune.head_epochs=0",
        ),
        ({"unfreeze": "conv1"}, lambda: perceptron((4, 4, 1), 3), "unknown stage of perceptron"),
    ],
)
def test_plan_refuses_what_the_network_does_not_have(settings, build, message):
    with pytest.raises(ConfigError, match=message):
        plan(Finetune(**settings), build(), (), epochs=9)


@pytest.mark.parametrize("bn", ["frozen", "adapt", "train"])
def test_frozen_weights_and_statistics_do_not_change_by_a_bit(bn):
    model = network()
    train(model)  # So that no statistic stands where it began.
    settings = Finetune(head_epochs=0, unfreeze="conv4", bn=bn)
    (phase,) = plan(settings, model, (), epochs=1)
    prepare(model, phase, settings, ())
    before = values(model)
    train(model)
    kernels = {"predictions/kernel", "predictions/bias", "conv4_block1_1_conv/kernel", "conv4_block1_2_conv/kernel"}
    norms = [layer.name for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    moving, scales = (
        {f"{layer}/{name}" for layer in norms for name in names}
        for names in (NORM_KINDS["moving"], NORM_KINDS["scales"])
    )
    # adapt: all statistics and no scale; train: both, in the stage that learns; frozen: neither.
    top = {path for path in moving | scales if path.startswith("conv4")}
    assert changed(before, model) == kernels | {"frozen": set(), "adapt": moving, "train": top}[bn]


class Block(keras.layers.Layer):
    """A composite layer, as a plug-in may have: a dense one and its normalization."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(4, use_bias=False, name="dense")
        self.norm = keras.layers.BatchNormalization(name="norm")

    def build(self, input_shape):
        self.dense.build(input_shape)
        self.norm.build((*input_shape[:-1], 4))

    def call(self, inputs, training=None):
        return self.norm(self.dense(inputs), training=training)


@pytest.mark.parametrize("bn", ["frozen", "adapt", "train"])
def test_norms_inside_other_layers_are_treated_as_those_outside(bn):
    picture = keras.Input((5,))
    x = Block(name="block2")(Block(name="block1")(picture))
    model = keras.Model(picture, keras.layers.Dense(3, name="predictions")(x))
    settings = Finetune(head_epochs=0, unfreeze="block2", bn=bn)
    (phase,) = plan(settings, model, (), epochs=1)
    prepare(model, phase, settings, ())
    before = values(model)
    train(model)
    moving, scales = (
        {f"{block}/norm/{kind}" for block in ("block1", "block2") for kind in NORM_KINDS[kinds]} for kinds in NORM_KINDS
    )
    learned = {"block2/dense/kernel", "predictions/kernel", "predictions/bias"}
    upper = {path for path in moving | scales if path.startswith("block2")}
    assert changed(before, model) == learned | {"frozen": set(), "adapt": moving, "train": upper}[bn]


def test_layer_with_an_update_of_low_rank_keeps_its_kernel():
    model = mlp((4, 4, 1), 3, hidden_widths=(8, 6))
    settings = Finetune(head_epochs=0, lora_rank=2)
    assert add_lora(model, 2, ()) == ["hidden1", "hidden2"]
    (phase,) = plan(settings, model, (), epochs=1)
    # Updates of rank 2 for 16·8 and 8·6: 2·(16 + 8) + 2·(8 + 6) = 76; the head has 6·3 + 3 = 21.
    assert prepare(model, phase, settings, ()) == 76 + 21
    assert count(model.trainable_variables) == 97
    before = values(model)
    train(model, steps=3)
    assert changed(before, model) == {
        "predictions/kernel", "predictions/bias",
        "hidden1/lora_kernel_a", "hidden1/lora_kernel_b", "hidden2/lora_kernel_a", "hidden2/lora_kernel_b",
    }  # fmt: skip


def test_layers_inside_a_transformers_block_get_updates_of_low_rank(tmp_path):
    model = bert("bert", (6,), 20, num_classes=3, depth=1, width=8, num_heads=2, hidden_dim=12, dropout=0.0)
    settings = Finetune(head_epochs=0, lora_rank=2)
    assert add_lora(model, 2, ("pooled_dense",)) == ["transformer_layer_0"]
    (phase,) = plan(settings, model, ("pooled_dense",), epochs=1)
    # Kernels of query, key and value are (8, 2, 4): 2·(8·2 + 4) each; that of the output is (2, 4, 8): 2·(2·4 + 8).
    # The feed-forward network's are 8·12 and 12·8: 2·(8 + 12) each. New are pooled_dense, 8·8 + 8, and the head:
    # 8·3 + 3.
    assert prepare(model, phase, settings, ("pooled_dense",)) == 3 * 40 + 32 + 2 * 40 + 72 + 27
    before = values(model)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, jit_compile=False)
    tokens = np.random.default_rng(0).integers(5, 20, (24, 6))
    model.fit(tokens, np.arange(24) % 3, batch_size=8, verbose=0)
    learned = changed(before, model)
    inside = [path.rpartition("/")[2] for path in learned if path.startswith("transformer")]
    # The second factors begin at zero and all move. The first ones may move by less than a rounding, so early.
    assert inside.count("lora_kernel_b") == 6
    assert set(inside) == {"lora_kernel_a", "lora_kernel_b"}
    assert {path for path in learned if not path.startswith("transformer")} == {
        "pooled_dense/kernel", "pooled_dense/bias", "predictions/kernel", "predictions/bias",
    }  # fmt: skip
    # What is kept is the block with its updates added to its kernels.
    model.save(tmp_path / "kept.keras")
    kept = keras.saving.load_model(tmp_path / "kept.keras", compile=False)
    np.testing.assert_allclose(kept(tokens), model(tokens), atol=1e-5)
    assert count(kept.weights) == count(model.weights) - 232


def test_updates_of_low_rank_need_a_dense_layer():
    with pytest.raises(ModelError, match="finetune.lora_rank=2: resnet20 has no trained dense layer below its head"):
        add_lora(network(), 2, ())


SMALL = ["data=synthetic", "data.examples=200", "data.channels=3", "data.num_classes=3", "data.image_size=16"]
TOY = ["model=resnet20", "model.depth=1", "model.widths=[4,4,4]", *SMALL, "trainer.batch_size=24"]


@dataclass(frozen=True)
class Probe(Recipe):
    """A callback in a config that looks at weights and optimizer where each phase begins and ends."""

    seen: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, **_):
        def look(when):
            optimizer = probe.model.optimizer
            slots = [v.numpy() for v in optimizer.variables if "iteration" not in v.path and "learning" not in v.path]
            facts = {"when": when, "steps": int(optimizer.iterations.numpy()), "weights": values(probe.model)}
            self.seen.append({**facts, "moments": sum(float(np.abs(slot).sum()) for slot in slots)})

        probe = keras.callbacks.LambdaCallback(
            on_train_begin=lambda logs: look("begin"), on_train_end=lambda logs: look("end")
        )
        return probe


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The folder of a run to start from."""
    folder = tmp_path_factory.mktemp("first")
    run(compose([*TOY, "trainer.epochs=1", "data.seed=1"]), MemoryTracker(), folder)
    return folder


@pytest.fixture(scope="module")
def tuned(first, tmp_path_factory):
    """A run of three phases from it: its folder, result, record and what the probe saw."""
    folder, probe, tracker = tmp_path_factory.mktemp("tuned"), Probe("a.probe"), MemoryTracker()
    options = ["finetune.head_epochs=1", "finetune.unfreeze=[conv4,all]", "finetune.layer_decay=0.5"]
    config = compose([*TOY, "trainer=finetune", "trainer.epochs=4", "trainer.batch_size=24", f"from={first}", *options])
    result = run(replace(config, callbacks={"probe": probe}), tracker, folder)
    return folder, result, tracker, probe.seen


def test_phases_are_one_training_of_which_each_is_tracked(tuned):
    folder, result, tracker, _ = tuned
    assert len(result.history["val/accuracy"]) == 4
    # One epoch for the head; three for two stages: one, and the odd one with it, two.
    assert result.history["finetune/phase"] == [1, 2, 3, 3]
    # Head: 4·3 + 3. conv4: two kernels of 3·3·4·4 more. All: two such kernels in two more stages, and 3·3·3·4 in conv1.
    # Scales and shifts are frozen with the statistics.
    head, top = 15, 2 * 144
    counts = [head, head + top, head + 3 * top + 108, head + 3 * top + 108]
    assert result.history["finetune/params_trainable"] == counts
    assert tracker.history["finetune/params_trainable"] == list(enumerate(counts, start=1))
    best = keras.saving.load_model(folder / "checkpoints" / "best.keras")
    assert result.metrics["best/val_accuracy"] == max(result.history["val/accuracy"])
    assert [layer.name for layer in best.layers if not layer.trainable] == []  # Whoever gets it finds nothing frozen.


def test_phases_leave_all_that_is_frozen_as_it_was_loaded(tuned, first):
    _, _, _, seen = tuned
    loaded = keras.saving.load_model(first / "checkpoints" / "best.keras")
    begin, end = seen[0]["weights"], seen[1]["weights"]
    assert not changed(begin, loaded)  # Same classes: the head was kept too.
    assert {path for path in begin if not np.array_equal(begin[path], end[path])} == {
        "predictions/kernel", "predictions/bias",
    }  # fmt: skip
    # The phase after that, in a real training with decay and a schedule: its stage alone, and no statistic.
    begin, end = seen[2]["weights"], seen[3]["weights"]
    assert {path for path in begin if not np.array_equal(begin[path], end[path])} == {
        "predictions/kernel", "predictions/bias", "conv4_block1_1_conv/kernel", "conv4_block1_2_conv/kernel",
    }  # fmt: skip


def test_weights_survive_a_phase_and_the_optimizers_state_does_not(tuned):
    _, _, _, seen = tuned
    assert [look["when"] for look in seen] == ["begin", "end"] * 3
    # 160 examples less a tenth for validation are 144: six steps of 24. The last phase has two epochs.
    assert [look["steps"] for look in seen] == [0, 6, 0, 6, 0, 12]
    assert [look["moments"] == 0 for look in seen] == [True, False] * 3
    for end, begin in ((1, 2), (3, 4)):
        assert all(np.array_equal(value, seen[end]["weights"][path]) for path, value in seen[begin]["weights"].items())


def test_result_says_what_the_next_training_must_know(first):
    facts = json.loads((first / "result.json").read_text())["facts"]
    assert facts["input_shape"] == [16, 16, 3]
    assert len(facts["mean"]) == len(facts["deviation"]) == 3
    assert facts["class_names"] == ["0 degrees", "60 degrees", "120 degrees"]


def test_inputs_are_made_as_the_weights_expect_them(first, tuned):
    folder, _, tracker, _ = tuned
    before, after = (json.loads((place / "result.json").read_text())["facts"] for place in (first, folder))
    assert after["mean"] == before["mean"]  # Of other pictures: `data.seed` differs.
    assert tracker.models[0]["metadata"]["mean"] == before["mean"]


def test_rates_that_fall_with_depth_are_the_same_on_two_replicas(tmp_path):
    mlp((16, 16, 3), 3, hidden_widths=(8,)).save(tmp_path / "start.keras")
    losses = []
    for replicas in (1, 2):
        folder = tmp_path / str(replicas)
        folder.mkdir()
        options = ["trainer=finetune", "trainer.epochs=2", "finetune.head_epochs=1", "finetune.layer_decay=0.5"]
        further = ["optimizer=adamw", "strategy=mirrored", f"strategy.devices={replicas}", "trainer.batch_size=24"]
        config = compose(
            ["model=mlp", "model.hidden_widths=[8]", *SMALL, *options, *further, f"from={tmp_path / 'start.keras'}"]
        )
        result = run(config, MemoryTracker(), folder)
        losses.append([*result.history["train/loss"], result.metrics["test/loss"]])
    np.testing.assert_allclose(losses[1], losses[0], atol=1e-5)


def test_update_of_low_rank_is_part_of_the_model_that_is_kept(tmp_path):
    base = ["model=mlp", "model.hidden_widths=[8]", *SMALL, "trainer.batch_size=24"]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    run(compose([*base, "trainer.epochs=1"]), MemoryTracker(), tmp_path / "a")
    tracker = MemoryTracker()
    options = ["trainer=finetune", "trainer.epochs=2", "finetune.head_epochs=0", "finetune.lora_rank=2"]
    run(compose([*base, *options, "trainer.batch_size=24", f"from={tmp_path / 'a'}"]), tracker, tmp_path / "b")
    (kept,) = tracker.models
    model = keras.saving.load_model(kept["path"])
    np.testing.assert_allclose(model(kept["input_example"]), kept["output_example"], atol=1e-6)
    # 2·(16·16·3 + 8) for the update, 8·3 + 3 for the head.
    assert tracker.history["finetune/params_trainable"][-1] == (2, 2 * 776 + 27)


def test_average_of_the_weights_goes_on_through_the_phases(tmp_path):
    mlp((16, 16, 3), 3, hidden_widths=(8,)).save(tmp_path / "start.keras")
    start = keras.saving.load_model(tmp_path / "start.keras")
    (tmp_path / "run").mkdir()
    options = ["trainer=finetune", "trainer.epochs=4", "finetune.head_epochs=2", "callbacks=[default,ema]"]
    seen = Probe("a.probe")
    base = ["model=mlp", "model.hidden_widths=[8]", *SMALL, "trainer.batch_size=24", f"from={tmp_path / 'start.keras'}"]
    config = compose([*base, *options, "trainer.batch_size=24"])
    config = replace(config, callbacks={**config.callbacks, "probe": seen})
    tracker = MemoryTracker()
    result = run(config, tracker, tmp_path / "run")
    # One number for each of the four epochs, and in the first phase an average of what never moved is what it was.
    assert [step for step, _ in tracker.history["val/ema_accuracy"]] == [1, 2, 3, 4]
    best = max(result.history["val/accuracy"] + result.history["val/ema_accuracy"])
    assert result.metrics["best/val_accuracy"] == best
    assert np.array_equal(seen.seen[1]["weights"]["hidden1/kernel"], start.get_layer("hidden1").kernel.numpy())
    assert not np.array_equal(seen.seen[3]["weights"]["hidden1/kernel"], start.get_layer("hidden1").kernel.numpy())
    assert result.history["finetune/phase"] == [1, 1, 2, 2]
