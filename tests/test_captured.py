"""The training step can be recorded: it reads only tensors that stay where they are.

CUDA graphs need a GPU. Here the operations of a step are written down by torch's
dispatcher, and done again on the same tensors, as a graph does.
"""

import copy
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sk_dim import DeepInfomaxClassifier, DeepInfomaxTransformer
from sk_dim._information._critic_training import CriticTraining
from sk_dim._information._judging import PairRows
from sk_dim._information._pair_critic import PAIR_CRITICS
from sk_dim._information._read_outs import READ_OUTS
from sk_dim._training import _captured
from sk_dim._training._captured import can_record, graphs_of
from sk_dim._training._optimizers import (
    build_layered_optimizer,
    load_moments,
    set_rates,
)
from sk_dim.bounds import BOUNDS
from sk_dim.encoders import ConvEncoder, FoldedEncoder, ResNetEncoder
from sk_dim.tasks import TASKS

aten = torch.ops.aten
# They tell the host a value, or how many values there are, or send it a constant.
WAITING = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.is_nonzero.default,
    aten._unique2.default,
    aten.lift_fresh.default,
    aten.lift_fresh_copy.default,
    aten.equal.default,
}


class Recording(TorchDispatchMode):
    """Writes down operations, and does them again on the same tensors."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function not in WAITING, function
        if function is aten.index.Tensor:
            assert all(each is None or each.dtype != torch.bool for each in args[1])
        made = function(*args, **(kwargs or {}))
        if function.namespace == "profiler":
            return made
        self.calls.append((function, args, kwargs or {}, made))
        return made

    def replay(self):
        with torch._C._AutoDispatchBelowAutograd():
            for function, args, kwargs, before in self.calls:
                made = function(*args, **kwargs)
                returns = function._schema.returns
                if any(each.alias_info is not None for each in returns):
                    continue  # a view, or written in place
                for old, new in zip(
                    tree_leaves(before), tree_leaves(made), strict=True
                ):
                    if old is not None:
                        old.copy_(new)

    def description(self):
        """Operations, with shapes in place of tensors."""
        return [
            (function, [_shape(each) for each in tree_leaves((args, kwargs))])
            for function, args, kwargs, _ in self.calls
        ]


def _shape(value):
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.dtype
    return "generator" if isinstance(value, torch.Generator) else value


class RecordedSteps:
    """What `StepGraphs` does, on a CPU."""

    made: ClassVar[list] = []

    def __init__(self, owner, compute):
        self.compute = compute
        self.recorded = {}
        self.n_done = self.n_replayed = 0
        self.made.append(self)

    def __call__(self, *inputs):
        self.n_done += 1
        if self.n_done <= N_BEFORE:
            return self.compute(*inputs)
        size = len(inputs[0])
        if size not in self.recorded:
            buffers, recording = [each.clone() for each in inputs], Recording()
            with recording:
                found = self.compute(*buffers)
            self.recorded[size] = recording, buffers, found
            return found
        recording, buffers, found = self.recorded[size]
        for buffer, given in zip(buffers, inputs, strict=True):
            buffer.copy_(given)
        recording.replay()
        self.n_replayed += 1
        return found


N_BEFORE = 3


@pytest.fixture(name="made")
def _made(monkeypatch):
    """What replayed steps in a test."""
    monkeypatch.setattr(RecordedSteps, "made", [])
    return RecordedSteps.made


SMALL_RESNET = partial(ResNetEncoder, n_channels=4)
CASES = {
    "patch": ((16, 16, 3), {"augment": "natural"}),
    "patch, a crop with noise": ((16, 20), {"augment": "auto"}),
    "patch of series": ((1, 40), {"encoder": "patch", "input_type": "series"}),
    "conv": ((8, 8), {}),
    "resnet": ((8, 8, 3), {"encoder": SMALL_RESNET, "augment": "natural"}),
    "conv, one view": ((8, 8), {"augment": None}),
    "mlp": ((30,), {}),
    "series": ((1, 30), {"input_type": "series"}),
    "concat": ((8, 8), {"critic": "concat", "bound": "jsd"}),
    "noise": ((30,), {"prior": "noise", "prior_weight": 0.1}),
    "uniform": ((30,), {"prior": "uniform", "prior_weight": 0.1}),
    "tasks": (
        (8, 8),
        {"encoder": "conv", "augment": ("crop", "occlude"), "tasks": tuple(TASKS)},
    ),
    "folded, a map": (
        (8, 8),
        {"encoder": partial(FoldedEncoder, global_map=True), "augment": "crop"},
    ),
    **{name: ((30,), {"bound": name, "augment": "corrupt"}) for name in BOUNDS},
}


QUICK = ("patch", "series", "uniform")
NAMES = [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow)
    for name in CASES
]


def build(name, **settings):
    """An estimator, and samples for it."""
    shape, params = CASES[name]
    X = np.random.default_rng(0).normal(size=(95, *shape)).astype(np.float32)
    params = {"n_components": 16, "batch_size": 30, "random_state": 0} | params
    return DeepInfomaxTransformer(device="cpu", **params, **settings), X


def keep_rates_in_tensors(optimizer):
    """As those of a GPU are."""
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(group["lr"])
    return optimizer


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_steps_done_again_are_those_that_are_computed(name, made, monkeypatch):
    fitted = []
    for is_recorded in (False, True):

        def graphs(net, groups, is_recorded=is_recorded):
            keep_rates_in_tensors(net.optimizer_)
            compute = partial(_captured._light_step, net)
            return RecordedSteps(net, compute) if is_recorded else None

        monkeypatch.setattr("sk_dim._training._net.graphs_of", graphs)
        estimator, X = build(name, max_iter=3)
        fitted.append(estimator.fit(X))
    assert made[0].n_replayed >= 3
    computed, replayed = fitted
    assert computed.history_[-1]["loss"] == replayed.history_[-1]["loss"]
    np.testing.assert_array_equal(computed.transform(X), replayed.transform(X))


@pytest.mark.slow
@pytest.mark.parametrize(
    "labels",
    [
        pytest.param("some", id="some"),
        pytest.param("all", id="all", marks=pytest.mark.slow),
        pytest.param("weighted", id="weighted", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    "name",
    [
        "conv",
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in ("patch", "mlp", "conv, one view", "uniform")
        ),
    ],
)
def test_steps_of_fine_tuning_are_done_again(name, labels, made, monkeypatch):
    learnt, X = build(name, max_iter=1)
    y = np.arange(len(X)) % 3
    if labels != "all":
        y[20:] = -1
    fitted = []
    for is_recorded in (False, True):
        module = "sk_dim._training._fine_tuning."
        monkeypatch.setattr(f"{module}StepGraphs", RecordedSteps)
        monkeypatch.setattr(f"{module}can_record", lambda *_, yes=is_recorded: yes)
        weight = {0: 3.0, 1: 1.0, 2: 1.0} if labels == "weighted" else None
        classifier = DeepInfomaxClassifier(
            learnt, n_steps=12, batch_size=8, class_weight=weight, random_state=0
        )
        with monkeypatch.context() as patch:
            optimizer = partial(_with_rates_in_tensors, build_layered_optimizer)
            patch.setattr(f"{module}build_layered_optimizer", optimizer)
            fitted.append(classifier.fit(X, y))
    assert made[0].n_replayed == 12 - N_BEFORE - 1
    computed, replayed = fitted
    for one, other in zip(computed.history_, replayed.history_, strict=True):
        assert one["loss"] == other["loss"]
    expected = computed.predict_proba(X)
    np.testing.assert_array_equal(replayed.predict_proba(X), expected)


def _with_rates_in_tensors(build, *args):
    return keep_rates_in_tensors(build(*args))


def test_fine_tuning_is_recorded_where_training_is(monkeypatch):
    """Not on a CPU, and not with groups."""
    asked = []

    def ask(net, groups):
        asked.append((net, groups))
        return can_record(net, groups)

    monkeypatch.setattr("sk_dim._training._fine_tuning.can_record", ask)
    learnt, X = build("conv", max_iter=1)
    y = np.where(np.arange(95) < 20, np.arange(95) % 3, -1)
    model = DeepInfomaxClassifier(learnt, n_steps=2, random_state=0)
    model.fit(X, y, groups=np.arange(95) // 5)
    ((net, groups),) = asked
    assert groups is not None
    monkeypatch.setattr(net, "device", torch.device("cuda"))
    assert can_record(net, None)
    assert not can_record(net, groups)


@pytest.mark.parametrize(
    ("bound", "shape", "groups"),
    [
        ("infonce", (4,), None),
        ("donsker_varadhan", (1,), torch.arange(300) // 3),
        pytest.param("jsd", (1,), None, marks=pytest.mark.slow),
        pytest.param("nwj", (3,), None, marks=pytest.mark.slow),
        pytest.param("infonce", (8, 8), torch.arange(300) // 2, marks=pytest.mark.slow),
    ],
)
def test_steps_of_pair_critics_are_done_again(bound, shape, groups, made):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, *shape)).astype(np.float32)
    y = (x + rng.normal(size=x.shape)).astype(np.float32)
    critic = PAIR_CRITICS["hybrid"](shape, shape)
    start = copy.deepcopy(critic.state_dict())
    found = []
    for is_recorded in (False, True):
        critic.load_state_dict(start)
        rows = PairRows(torch.from_numpy(x), torch.from_numpy(y), groups)
        parts = rows.take(slice(240)), rows.take(slice(240, None))
        training = CriticTraining(critic, *parts, 12, READ_OUTS[bound], 0)
        keep_rates_in_tensors(training.optimiser)
        if is_recorded:
            training.graphs = RecordedSteps(training, training.compute_step)
        seen = [training.run_to(6), training.check(), training.run_to(12)]
        found.append([*seen, training.check()])
    assert made[0].n_replayed == 12 - N_BEFORE - 1
    assert found[0] == found[1]


@pytest.mark.parametrize("name", NAMES)
def test_every_step_is_the_same_operations(name):
    estimator, X = build(name, max_iter=1)
    net = estimator.fit(X).net_
    keep_rates_in_tensors(net.optimizer_)
    shape = estimator.model_.fmt.shape
    if estimator.encoder_.has_fixed_part:
        net.has_fixed_views = True
        fixed = estimator.encoder_.view_fixed(torch.randn(30, *shape), 0, net.augment)
        shape = fixed.values.shape[1:]
    described = []
    for seed in range(3):
        batch = torch.randn(30, *shape, generator=torch.Generator().manual_seed(seed))
        with Recording() as recording:
            net.train_step(batch)
        described.append(recording.description())
    assert described[1] == described[2]  # the first step makes moments


class Watch(Callback):
    def on_batch_end(self, *_, **__):
        """Look at each step."""


class WatchEpochs(Callback):
    def on_epoch_end(self, *_, **__):
        """Look at each epoch."""


class Own(ConvEncoder):
    """Of a user, which may do anything."""


@pytest.mark.parametrize(
    ("params", "is_recorded"),
    [
        ({}, True),
        ({"callbacks": [WatchEpochs()]}, True),
        ({"callbacks": [Watch()]}, False),
        ({"encoder": Own}, False),
        ({"augment": lambda batch, generator: batch}, False),
        ({"encoder": partial(ConvEncoder, compile_mode="default")}, False),
        ({"groups": np.arange(95) // 5}, False),
        ({"device": "cpu"}, False),
    ],
)
def test_what_is_recorded(params, is_recorded, monkeypatch):
    """On a GPU, which stands in for."""
    X = np.random.default_rng(0).normal(size=(95, 8, 8))
    groups = params.pop("groups", None) if "groups" in params else None
    asked = []

    def ask(net, groups):
        where = params.get("device", "cuda")
        with monkeypatch.context() as patch:
            patch.setattr(net, "device", torch.device(where))
            asked.append(graphs_of(net, groups))

    monkeypatch.setattr(_captured, "StepGraphs", lambda *_: "graphs")
    monkeypatch.setattr(ConvEncoder, "compile", lambda self, mode: None)  # for seconds
    monkeypatch.setattr("sk_dim._training._net.graphs_of", ask)
    defaults = {"n_components": 16, "max_iter": 1, "device": "cpu"}
    DeepInfomaxTransformer(**defaults | params).fit(X, groups=groups)
    assert asked == ["graphs" if is_recorded else None]


def test_moments_of_another_device_leave_how_an_optimiser_computes():
    weight = torch.nn.Parameter(torch.ones(3))
    made = []
    for rate in (0.1, torch.tensor(0.2)):
        group = {"params": [weight], "lr": rate, "factor": 2.0}
        optimizer = torch.optim.AdamW([group], fused=True)
        weight.grad = torch.ones(3)
        optimizer.step()
        made.append(optimizer)
    first, second = made
    load_moments(second, first.state_dict())
    assert second.state[weight]["step"] == 1
    set_rates(second, 0.3)
    (group,) = second.param_groups
    assert isinstance(group["lr"], torch.Tensor)
    assert float(group["lr"]) == pytest.approx(0.6)
    load_moments(first, second.state_dict())
    set_rates(first, 0.3)
    assert first.param_groups[0]["lr"] == pytest.approx(0.6)
