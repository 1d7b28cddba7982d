"""Parts by name, their settings, and what the parts of users must keep to."""

import copy
import functools

import numpy as np
import pytest
import torch

from sk_dim import DeepInfomaxTransformer
from sk_dim._inputs._formats import InputFormat
from sk_dim._training._design import Design
from sk_dim.augmentations import AUGMENTATIONS, Compose, crop, flip, noise, occlude
from sk_dim.critics import DotCritic
from sk_dim.encoders import ENCODERS, ConvEncoder, Encoder, Features, PatchEncoder
from sk_dim.priors import PRIORS

TABLE = np.random.default_rng(0).normal(size=(20, 12)).astype(np.float32)
IMAGES = np.random.default_rng(0).normal(size=(20, 1, 16, 16)).astype(np.float32)


class Linear(Encoder):
    """An encoder such as a contributor would add."""

    kinds = ("table",)

    def __init__(self, input_shape, n_components):
        super().__init__()
        self.linear = torch.nn.Linear(*input_shape, n_components)

    @staticmethod
    def full_width(input_shape):
        return 6

    def forward(self, batch):
        return Features(self.linear(batch), None, None, batch.unsqueeze(1))


class Scaled(torch.nn.Module):
    """A prior such as a contributor would add."""

    def __init__(self, n_components, weight):
        super().__init__()
        self.weight = weight

    def forward(self, codes, generator):
        return codes, -self.weight * codes.square().mean()


def test_a_new_entry_in_a_table_works_by_name_at_once(monkeypatch):
    monkeypatch.setitem(ENCODERS, "linear", Linear)
    monkeypatch.setitem(AUGMENTATIONS, "shrink", lambda batch, generator: 0.9 * batch)
    monkeypatch.setitem(PRIORS, "scaled", Scaled)
    model = DeepInfomaxTransformer(
        encoder="linear", augment=("shrink", "noise"), prior="scaled", prior_weight=1.0,
        max_iter=1, random_state=0,
    ).fit(TABLE)  # fmt: skip
    assert isinstance(model.encoder_, Linear)
    assert model.transform(TABLE).shape == (20, 6)
    assert np.isfinite(model.history_[0]["prior"])
    with pytest.raises(ValueError, match="encoder='linear' cannot take image samples"):
        DeepInfomaxTransformer(encoder="linear").fit(IMAGES)


def test_a_new_encoder_is_never_chosen_unasked(monkeypatch):
    monkeypatch.setitem(ENCODERS, "linear", Linear)
    assert design(TABLE).encoder is ENCODERS["mlp"]


def design(X, **params):
    kind = "table" if X.ndim == 2 else "image"
    fmt = InputFormat(kind, X.shape[1:], None if kind == "table" else 0)
    return Design.from_params(DeepInfomaxTransformer(**params).get_params(), fmt)


@pytest.mark.parametrize(
    "params",
    [
        {"critic": functools.partial(DotCritic, n_units=256)},
        {"encoder": functools.partial(PatchEncoder, n_filters=8)},
        {"augment": functools.partial(crop, min_area=0.5)},
        {"augment": ("flip", functools.partial(crop, min_area=0.5))},
    ],
    ids=["critic", "encoder", "augment", "augments"],
)
def test_equal_settings_of_parts_are_the_same_design(params):
    first = design(IMAGES, **params)
    first.check_unchanged(design(IMAGES, **copy.deepcopy(params)))
    assert not first.has_own_parts
    (name,) = params
    for other in ("auto" if name != "critic" else "dot",):
        with pytest.raises(ValueError, match=f"{name}.* changed since"):
            first.check_unchanged(design(IMAGES, **{name: other}))


def test_other_settings_of_a_part_are_another_design():
    first = design(IMAGES, critic=functools.partial(DotCritic, n_units=256))
    second = design(IMAGES, critic=functools.partial(DotCritic, n_units=128))
    with pytest.raises(ValueError, match="critic changed since"):
        first.check_unchanged(second)


def test_parts_of_the_user_are_known_as_such():
    own = lambda shape, n: ConvEncoder(shape, n, n_hidden=8)  # noqa: E731
    assert design(IMAGES, encoder=own).has_own_parts
    assert design(IMAGES, augment=(noise, lambda batch, _: batch)).has_own_parts
    assert isinstance(design(IMAGES).augment, Compose)


def test_auto_in_a_tuple_stands_for_its_own_augmentations():
    assert design(IMAGES, augment=("auto",)) == design(IMAGES)
    assert design(IMAGES, augment=("auto", "flip")).augment == Compose(
        (crop, noise, flip)
    )
    both = design(IMAGES, augment=("auto", "occlude"))
    assert (both.augment, both.hide) == (design(IMAGES).augment, occlude)
    for name in ("augment", "encoder"):
        with pytest.raises(ValueError, match=r"'Auto' is not known; .*'auto', "):
            design(IMAGES, **{name: "Auto"})


@pytest.mark.parametrize("encoder", [ConvEncoder, PatchEncoder], ids=["conv", "patch"])
def test_nothing_is_compiled_before_the_training(encoder, monkeypatch):
    """Neither in fit, nor in loading and copying, which build the encoder too."""
    calls = []
    compiled = torch.nn.Module._call_impl

    def compile_(self, *args, **kwargs):
        def call(*args, **kwargs):
            calls.append(self)
            return compiled(self, *args, **kwargs)

        self._compiled_call_impl = call

    monkeypatch.setattr(torch.nn.Module, "compile", compile_)
    monkeypatch.setattr("sk_dim._training._net.InfomaxNet.train", lambda *a, **k: False)
    model = DeepInfomaxTransformer(
        8, encoder=functools.partial(encoder, compile_mode="default")
    )
    model.fit(IMAGES)
    assert not calls
    model.transform(IMAGES)
    assert calls


@pytest.mark.parametrize("n_components", [5000, 20_000])
def test_a_count_of_parameters_is_that_of_the_built_encoder(n_components, monkeypatch):
    monkeypatch.setattr("sk_dim._training._choices.MAX_PARAMETERS", 10**7)
    with pytest.raises(ValueError, match=r"can have up to \d+ with") as caught:
        design(TABLE, n_components=n_components)
    largest = int(str(caught.value).rpartition("up to ")[2].split()[0])

    def added(n):
        built = ENCODERS["mlp"]((12,), n).state_dict().values()
        least = ENCODERS["mlp"]((12,), 1).state_dict().values()
        return sum(v.numel() for v in built) - sum(v.numel() for v in least)

    assert added(largest) <= 10**7 < added(largest + 1)
    state = torch.get_rng_state()
    design(TABLE, n_components=largest)
    assert torch.equal(torch.get_rng_state(), state)
