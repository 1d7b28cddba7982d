"""Tasks beside the terms: what they bound, that they train, and what is refused."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from sk_dim import DeepInfomaxTransformer
from sk_dim._contrast import contrast, locations
from sk_dim.augmentations import occlude
from sk_dim.bounds import BOUNDS, infonce, jsd
from sk_dim.critics import ConcatCritic, CosineCritic, DotCritic
from sk_dim.encoders import ConvEncoder, Features, SeriesEncoder
from sk_dim.objective import Objective
from sk_dim.plotting import TrainingDisplay
from sk_dim.tasks import TASKS, Coordinates, Multiscale, RelativeCoordinates, Task

IMAGES = np.random.default_rng(0).uniform(size=(60, 8, 8))
CRITIC = partial(DotCritic, n_units=8)


def features_of(n=5, sides=(3, 4), n_components=6, seed=0, n_globals=None):
    """Random features, as an encoder would return them."""
    generator = torch.Generator().manual_seed(seed)
    several = () if n_globals is None else (n_globals,)
    return Features(
        torch.randn(n, n_components, generator=generator),
        None,
        torch.randn(n, 7, 2, 2, generator=generator),
        torch.randn(n, 5, *sides, generator=generator),
        torch.randn(n, n_components, *several, generator=generator),
    )


def build(name, features, seed=0):
    torch.manual_seed(seed)
    return TASKS[name](features, infonce, CRITIC)


# What they are


@pytest.mark.parametrize("sides", [(3, 4), (5,), (2, 1, 3)])
def test_coordinates_are_log_likelihoods_of_each_place(sides):
    features = features_of(sides=sides)
    task = build("coordinates", features).eval()
    long = [axis for axis, side in enumerate(sides) if side > 1]
    first, second = task.parts
    total = 0.0
    for i, place in itertools.product(range(5), itertools.product(*map(range, sides))):
        local = features.local[(i, slice(None), *place)]
        hidden = task.norm(first(local) + second(features.summary[i])).relu()
        for head, axis in zip(task.heads, long, strict=True):
            total += head(hidden).log_softmax(0)[place[axis]]
    n_places = math.prod(sides)
    expected = total / (5 * n_places) + math.log(n_places)
    torch.testing.assert_close(task([features], None, None), expected)


def test_relative_coordinates_are_log_likelihoods_of_differences():
    features = features_of()
    task = build("relative_coordinates", features).eval()
    found = task([features], torch.Generator().manual_seed(3), None)
    other = (torch.rand(5, 12, generator=torch.Generator().manual_seed(3)) * 12).long()
    local = locations(features.local)
    total = 0.0
    for i, a in itertools.product(range(5), range(12)):
        b = int(other[i, a])
        parts = local[i, :, a], local[i, :, b], features.summary[i]
        hidden = sum(part(each) for part, each in zip(task.parts, parts, strict=True))
        hidden = task.norm(hidden).relu()
        down, right = a // 4 - b // 4, a % 4 - b % 4
        total += task.heads[0](hidden).log_softmax(0)[down + 2]
        total += task.heads[1](hidden).log_softmax(0)[right + 3]
    entropy = 0.0
    for side in (3, 4):
        differences = [a - b for a in range(side) for b in range(side)]
        shares = [differences.count(d) / side**2 for d in set(differences)]
        entropy -= sum(p * math.log(p) for p in shares)
    torch.testing.assert_close(found, total / 60 + entropy)


def test_multiscale_is_two_bounds_between_views():
    one, other = features_of(seed=1), features_of(seed=2)
    task = build("multiscale", one).eval()
    maps = locations(one.conv), locations(other.conv)
    by_global = [
        infonce(*task.by_global(maps[0], other.summary)),
        infonce(*task.by_global(maps[1], one.summary)),
    ]
    by_place = [
        infonce(*task.by_place(maps[v], maps[1 - v][:, :, place]))
        for v in range(2)
        for place in range(4)
    ]
    expected = (sum(by_global) / 2 + sum(by_place) / 8) / 2
    torch.testing.assert_close(task([one, other], None, None), expected)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "coordinates" else pytest.mark.slow)
        for name in TASKS
    ],
)
def test_tasks_are_done_better_with_training_where_there_is_something_to_learn(name):
    """Local features that say where they are, and maps of views that are equal."""
    features = features_of(n=40)
    rows, columns = torch.meshgrid(torch.arange(3), torch.arange(4), indexing="ij")
    place = torch.stack([rows, columns]).float().expand(40, -1, -1, -1)
    local = torch.cat([place, features.local[:, 2:]], dim=1)
    views = [features._replace(local=local)] * 2
    task = build(name, features)
    optimizer = torch.optim.Adam(task.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    values = []
    for _ in range(60):
        value = task(views, generator, None)
        optimizer.zero_grad()
        (-value).backward()
        optimizer.step()
        values.append(float(value.detach()))
    most = {
        "coordinates": math.log(12),
        "relative_coordinates": math.log(12) * 2,
        "multiscale": math.log(40 * 4),
    }[name]
    assert values[-1] > values[0] + 0.5
    assert values[-1] < most
    if name == "coordinates":
        assert values[-1] > 0.9 * most


@pytest.mark.slow
@pytest.mark.parametrize("name", ["coordinates", "relative_coordinates"])
def test_features_of_no_place_tell_nothing_of_it(name):
    task = build(name, features_of(n=2))
    optimizer = torch.optim.Adam(task.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    for seed in range(30):
        value = task([features_of(n=60, seed=seed)], generator, None)
        optimizer.zero_grad()
        (-value).backward()
        optimizer.step()
    held_out = task([features_of(n=60, seed=99)], generator, None)
    assert held_out < 0.02


# Several global features for each sample


@pytest.mark.parametrize("critic", [DotCritic, ConcatCritic])
@pytest.mark.parametrize("bound", [infonce, jsd])
@pytest.mark.parametrize("has_groups", [False, True])
def test_each_of_several_codes_is_paired_with_the_whole_map(critic, bound, has_groups):
    views = [features_of(seed=seed, n_globals=3) for seed in (1, 2)]
    critic = critic(5, 6, n_locations=None)
    maps, codes = (
        [locations(view.local) for view in views],
        [view.summary for view in views],
    )
    groups = torch.tensor([0, 1, 2, 1, 3]) if has_groups else None
    found = contrast(critic, bound, maps, codes, groups)
    each = [
        contrast(critic, bound, [local], [code[:, :, number]], groups)
        for local, code in zip(maps, codes, strict=True)
        for number in range(3)
    ]
    torch.testing.assert_close(found, torch.stack(each).mean())


@pytest.mark.parametrize("n_views", [1, 2])
def test_terms_of_a_map_of_global_features(n_views):
    views = [features_of(seed=seed, n_globals=3) for seed in range(n_views)]
    weights = {"local": 1.0, "global": 1.0, "prior": 0.1}
    objective = Objective(views[0], n_views, infonce, CRITIC, "noise", weights).eval()
    terms = objective(views, None)
    codes = [objective.prior(view.summary, None)[0] for view in views][::-1]
    local = [
        infonce(*objective.critics["local"](locations(view.local), code[:, :, number]))
        for view, code in zip(views, codes, strict=True)
        for number in range(3)
    ]
    torch.testing.assert_close(terms["local"], torch.stack(local).mean())
    if n_views == 2:
        a, b = (nn.functional.normalize(code.mean(2), dim=1) for code in codes)
        critic = CosineCritic(6)
        whole = [
            infonce(*critic(a[:, :, None], b)),
            infonce(*critic(b[:, :, None], a)),
        ]
    else:
        whole = [
            infonce(
                *objective.critics["global"](
                    views[0].local.flatten(1)[:, :, None], codes[0][:, :, number]
                )
            )
            for number in range(3)
        ]
    torch.testing.assert_close(terms["global"], torch.stack(whole).mean())


def test_scores_and_bounds_of_rows_are_means_over_several_codes():
    features = features_of(n_globals=3)
    weights = {"local": 1.0, "global": 0.0, "prior": 0.0}
    objective = Objective(features, 1, infonce, CRITIC, "noise", weights).eval()
    each = [
        features._replace(summary=features.summary[:, :, number]) for number in range(3)
    ]
    for found, of_each in [
        (objective.local_scores(features), map(objective.local_scores, each)),
        (
            objective.candidate_bound(features, 4),
            (objective.candidate_bound(one, 4) for one in each),
        ),
    ]:
        torch.testing.assert_close(found, torch.stack(list(of_each)).mean(0))


def test_a_prior_of_vectors_refuses_a_map():
    dim = DeepInfomaxTransformer(
        8, encoder=partial(ConvEncoder, global_map=True), prior_weight=0.1
    )
    with pytest.raises(ValueError, match="this encoder has a map of global features"):
        dim.fit(IMAGES)
    dim.set_params(prior="noise", max_iter=1, random_state=0).fit(IMAGES)
    assert dim.transform(IMAGES).shape == (60, 8)


# In the estimator


def fit(**params):
    params = {"n_components": 8, "encoder": "conv", "max_iter": 2} | params
    params |= {"random_state": 0, "precision": "float32", "batch_size": 30}
    return DeepInfomaxTransformer(critic=CRITIC, **params).fit(IMAGES)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_adds_its_term_to_the_loss_and_trains_the_encoder(name):
    without, with_it = fit(tasks={name: 0.0}), fit(tasks={name: 2.0})
    first = with_it.history_[0]
    assert set(first) - set(without.history_[0]) == set()
    assert np.isnan(without.history_[0][name])
    expected = -(first["local"] + 2 * first["global"] + 2 * first[name])
    assert first["loss"] == pytest.approx(expected, abs=1e-4)
    assert not np.array_equal(with_it.transform(IMAGES), without.transform(IMAGES))


def test_tasks_can_be_all_that_is_trained():
    tasks = ("coordinates", "relative_coordinates")
    dim = fit(tasks=tasks, local_weight=0, global_weight=0, validation_fraction=0.2)
    last = dim.history_[-1]
    assert last["loss"] == pytest.approx(-sum(last[name] for name in tasks), abs=1e-5)
    assert all(np.isfinite(last[f"valid_{name}"]) for name in tasks)


def test_samples_of_a_group_are_no_negatives_of_a_task():
    views = [features_of(n=6, seed=seed) for seed in (1, 2)]
    task = build("multiscale", views[0]).eval()
    plain = task(views, None, None)
    torch.testing.assert_close(task(views, None, torch.arange(6)), plain)
    assert task(views, None, torch.tensor([0, 0, 0, 1, 1, 1])) != plain


class Sharp(Task):
    """A task of the user, with a setting."""

    kinds = ("image",)

    def __init__(self, features, bound, critic, factor=1.0):
        super().__init__()
        self.factor = factor

    def forward(self, views, generator, groups):
        return self.factor * views[0].local.std()


def test_a_task_of_the_user():
    dim = fit(tasks=(Sharp, "coordinates"))
    assert {"Sharp", "coordinates"} <= dim.history_[0].keys()
    assert dim.net_.has_own_parts
    dim = fit(tasks={partial(Sharp, factor=3.0): 0.5})
    assert dim.history_[0]["Sharp"] > 0
    clone(dim)


def test_terms_of_tasks_are_drawn_and_printed(capsys):
    pytest.importorskip("matplotlib").use("agg")
    dim = fit(tasks="coordinates", verbose=1, validation_fraction=0.2)
    assert "coordinates " in capsys.readouterr().out
    lines = TrainingDisplay.from_estimator(dim).ax_.get_lines()
    labels = [line.get_label() for line in lines]
    assert labels[-2:] == ["coordinates", "coordinates, held out"]
    expected = [row["coordinates"] for row in dim.history_]
    np.testing.assert_array_equal(lines[-2].get_ydata(), expected)


def test_a_training_goes_on_with_the_same_tasks_only():
    dim = fit(tasks="coordinates").set_params(warm_start=True)
    dim.fit(IMAGES)
    assert len(dim.history_) == 4
    dim.set_params(tasks="relative_coordinates")
    with pytest.raises(ValueError, match="weights and tasks changed"):
        dim.fit(IMAGES)


TABLE = np.random.default_rng(0).normal(size=(60, 20))
SERIES = np.random.default_rng(0).normal(size=(60, 1, 32)).cumsum(axis=2)


@pytest.mark.parametrize(
    ("X", "params", "error", "message"),
    [
        (IMAGES, {"tasks": "place"}, ValueError, "'place' is not known; expected one"),
        (IMAGES, {"tasks": ("coordinates", 3)}, ValueError, "tasks=3 is not known"),
        (IMAGES, {"tasks": 3}, TypeError, "must be a name, a tuple of names, or a"),
        (IMAGES, {"tasks": None}, TypeError, "must be a name, a tuple of names, or a"),
        (IMAGES, {"tasks": {"coordinates": -1}}, ValueError, "'coordinates'.*at least"),
        (IMAGES, {"tasks": {"coordinates": "1"}}, TypeError, "must be a real number"),
        (IMAGES, {"tasks": lambda f: None}, TypeError, "a task is called with"),
        (IMAGES, {"tasks": nn.ReLU()}, ValueError, "or a callable that builds"),
        (TABLE, {"tasks": "coordinates"}, ValueError, "for images and series, not"),
        (TABLE, {"tasks": "multiscale"}, ValueError, "for images and series, not"),
        (TABLE, {"augment": "occlude"}, ValueError, "of images and series, not of"),
        (
            IMAGES,
            {"tasks": (Sharp, partial(Sharp, factor=2.0))},
            ValueError,
            "two terms would be called 'Sharp'",
        ),
        (
            IMAGES,
            {"augment": partial(occlude, area=3)},
            ValueError,
            "area=3 of occlude must be above 0 and at most 1",
        ),
        (SERIES, {"tasks": Sharp}, ValueError, "is for images, not for series"),
        (
            IMAGES,
            {"tasks": "multiscale", "augment": None},
            ValueError,
            "compares two views of each sample",
        ),
        (
            IMAGES,
            {"tasks": "multiscale", "augment": "occlude"},
            ValueError,
            "compares two views of each sample",
        ),
        (
            SERIES,
            {"tasks": "coordinates", "input_type": "series"},
            ValueError,
            "would train nothing: SeriesEncoder leaves its",
        ),
        (
            SERIES,
            {"augment": ("crop", "occlude"), "encoder": SeriesEncoder},
            ValueError,
            "augment='occlude' would train nothing: SeriesEncoder",
        ),
        (
            IMAGES,
            {
                "tasks": {"coordinates": 0},
                "local_weight": 0,
                "global_weight": 0,
            },
            ValueError,
            "leaves nothing to learn",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*look like series")
def test_what_does_not_apply_is_refused_in_a_sentence(X, params, error, message):
    if X is SERIES:
        params = {"input_type": "series"} | params
    with pytest.raises(error, match=message) as caught:
        DeepInfomaxTransformer(8, **params).fit(X)
    assert "\n" not in str(caught.value)


class Pooled(nn.Module):
    """An encoder of the user without a last map, whose local features are one."""

    def __init__(self, input_shape, n_components):
        super().__init__()
        self.linear = nn.Linear(math.prod(input_shape), n_components)

    def forward(self, batch):
        found = self.linear(batch.flatten(1))
        return Features(found, None, None, found[:, :, None])


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("coordinates", "returns them for one location only"),
        ("relative_coordinates", "returns them for one location only"),
        ("multiscale", "this encoder returns none as conv features"),
    ],
)
def test_encoders_without_places_are_refused(task, message):
    with pytest.raises(ValueError, match=message):
        DeepInfomaxTransformer(8, encoder=Pooled, tasks=task).fit(IMAGES)


# Occlusion: a part is hidden from the global path alone


class Seen(nn.Module):
    """An encoder of the user that keeps what it is given."""

    def __init__(self, input_shape, n_components):
        super().__init__()
        self.linear = nn.Linear(math.prod(input_shape), n_components)

    def forward(self, batch):
        self.batch = batch.detach()
        return Features(self.linear(batch.flatten(1)), None, batch, batch)


@pytest.mark.parametrize("augment", ["occlude", ("crop", "occlude")])
def test_local_features_are_of_the_whole_and_global_ones_of_what_is_left(augment):
    dim = DeepInfomaxTransformer(8, encoder=Seen, augment=augment, max_iter=1)
    net = dim.fit(IMAGES).net_
    n_views = 1 if augment == "occlude" else 2
    assert (
        net.criterion_.critics["global"].__class__
        is (DotCritic, CosineCritic)[n_views - 1]
    )
    batch = torch.randn(30, 1, 8, 8)
    views = net.make_views(batch, torch.Generator().manual_seed(0))
    assert len(views) == n_views
    seen = net.module_.batch.split(30)
    wholes, hidden = seen[:n_views], seen[n_views:]
    if n_views == 1:
        torch.testing.assert_close(wholes[0], batch)
    for view, whole, left in zip(views, wholes, hidden, strict=True):
        torch.testing.assert_close(view.local, whole)
        torch.testing.assert_close(view.conv, whole)
        torch.testing.assert_close(
            view.global_, net.module_.linear(left.flatten(1)).detach()
        )
        is_hidden = left != whole
        assert (left[is_hidden] == 0).all()
        share = is_hidden.float().mean((1, 2, 3))
        assert (share > 0).all()
        assert (share <= 0.3).all()


def test_occlusion_changes_the_loss_and_what_is_learnt():
    plain, occluded = fit(augment=None), fit(augment="occlude")
    assert occluded.history_[0]["local"] != plain.history_[0]["local"]
    assert not np.array_equal(occluded.transform(IMAGES), plain.transform(IMAGES))


def test_the_box_is_as_large_as_asked():
    dims = [
        DeepInfomaxTransformer(
            8,
            encoder=Seen,
            augment=partial(occlude, area=area),
            max_iter=1,
            random_state=0,
        ).fit(IMAGES)
        for area in (0.1, 0.6)
    ]
    shares = []
    for dim in dims:
        batch = torch.ones(50, 1, 8, 8)
        dim.net_.make_views(batch, torch.Generator().manual_seed(0))
        shares.append(float((dim.net_.module_.batch[50:] == 0).float().mean()))
    assert shares[0] < 0.15 < 0.3 < shares[1]


def test_bounds_and_critics_of_the_estimator_are_those_of_its_tasks():
    dim = fit(tasks="multiscale", bound="jsd")
    task = dim.net_.criterion_.tasks["multiscale"]
    assert isinstance(task, Multiscale)
    assert task.bound is BOUNDS["jsd"]
    assert isinstance(task.by_place, DotCritic)


def test_maps_of_one_row_have_one_axis():
    features = features_of(sides=(1, 6))
    for task in (Coordinates, RelativeCoordinates):
        assert len(task(features, None, None).heads) == 1
