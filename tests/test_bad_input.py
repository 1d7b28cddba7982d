"""What is refused: in one sentence, before the first epoch."""

import functools

import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.exceptions import NotFittedError

from sk_dim import DeepInfomaxTransformer, augmentations
from sk_dim.encoders import ConvEncoder, MLPEncoder, PatchEncoder

X = np.random.default_rng(0).normal(size=(20, 12))
IMAGES = np.random.default_rng(0).normal(size=(20, 3, 8, 8))


class Returns(torch.nn.Module):
    """An encoder that returns what it is told to."""

    def __init__(self, *values):
        super().__init__()
        self.values = values

    def forward(self, batch):
        return self.values


def built_by_hand(encoder):
    """Return a function that builds an encoder, and says nothing of what it takes."""

    def build(shape, n_components):
        return encoder(shape, n_components)

    return build


@pytest.fixture(autouse=True)
def _no_training(monkeypatch):
    """Fail if anything is trained before it is refused."""

    def train(*_, **__):
        raise AssertionError("training began")

    monkeypatch.setattr("sk_dim._training._net.InfomaxNet.train", train)


def refused(match, error=ValueError, X=X, **params):
    with pytest.raises(error, match=match):
        DeepInfomaxTransformer(**params).fit(X)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(20, 12), (20, 3, 8, 8)])
def test_values_that_are_not_finite(value, shape):
    bad = np.zeros(shape)
    bad[3, 2] = value
    refused("contains NaN|contains infinity", X=bad)


@pytest.mark.parametrize("shape", [(0, 12), (0, 3, 8, 8)])
def test_no_rows(shape):
    refused(r"Found array with 0 sample\(s\)", X=np.zeros(shape))


@pytest.mark.parametrize("shape", [(1, 12), (1, 3, 8, 8)])
def test_one_row(shape):
    refused(r"1 sample\(s\) .* while a minimum of 2 is required", X=np.ones(shape))


def test_no_columns():
    refused(r"0 feature\(s\)", X=np.zeros((20, 0)))


def test_one_axis():
    refused("Expected 2D array, got 1D array", X=np.zeros(20))


@pytest.mark.parametrize("sparse", [scipy.sparse.csr_matrix, scipy.sparse.coo_array])
def test_sparse(sparse):
    refused("Sparse data was passed", TypeError, X=sparse(np.eye(20)))


def test_strings():
    refused("X holds strings, such as 'a'", X=np.array([["a", "b"]] * 3))
    refused("X holds strings", X=np.array([["a", 1.0]] * 3, dtype=object))


def test_complex():
    refused("Complex data not supported", X=X + 1j)
    refused("Complex data not supported", X=IMAGES + 1j)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"n_components": 0}, r"n_components=0; it must be at least 1"),
        ({"batch_size": 1}, r"batch_size=1 leaves no negatives; it must be at least 2"),
        ({"max_iter": 0}, r"max_iter=0; it must be at least 1"),
        ({"max_time": 0}, r"max_time=0 is out of range; it must be above 0"),
        ({"max_time": -1.0}, r"max_time=-1.0 is out of range"),
        ({"max_time": float("nan")}, r"max_time=nan is out of range"),
        ({"learning_rate": 0.0}, r"learning_rate=0.0 is out of range"),
        ({"validation_fraction": 1.0}, r"at least 0 and below 1"),
        ({"local_weight": -1.0}, r"local_weight=-1.0 is out of range.* at least 0"),
        ({"global_weight": -1.0}, r"global_weight=-1.0 is out of range"),
        ({"prior_weight": float("inf")}, r"prior_weight=inf is out of range"),
        ({"bound": "jds"}, r"bound='jds' is not known; .*'infonce', 'jsd', 'kl', 'nwj', 'reverse_kl', or a"),
        ({"critic": "dots"}, r"critic='dots' is not known; .*'concat', 'dot', or a"),
        ({"encoder": "net"}, r"encoder='net' is not known; .*'mlp', 'patch', 'resnet', 'series', or a"),
        ({"encoder": "conv"}, r"encoder='conv' cannot take table samples of shape \(12,\)"),
        ({"prior": "gamma"}, r"prior='gamma' is not known; .*'noise', 'normal', 'uni"),
        ({"augment": "zoom"}, r"augment='zoom' is not known; .*'color', 'corrupt', 'crop'"),
        ({"augment": ()}, r"augment=\(\) makes no views; use augment=None"),
        ({"augment": "crop"}, r"augment='crop' makes views of images and series"),
        ({"output_layer": "top"}, r"output_layer='top' is not a layer .*'global', 'local'"),
        ({"output_layer": "conv"}, r"output_layer='conv' is not a layer of this"),
        ({"device": "gpu"}, r"device='gpu' is not known; expected 'auto', 'cpu'"),
        ({"device": "mps"}, r"device='mps' is not available on this machine"),
        ({"precision": "half"}, r"precision='half' is not known; .*'bfloat16', 'float32'"),
        ({"input_type": "photo"}, r"input_type='photo' is not known"),
        ({"data_format": "NCHW"}, r"data_format='NCHW' is not known"),
        ({"input_shape": (4, 4)}, r"X has 12 features, but input_shape=\(4, 4\) needs 16"),
        ({"prior": "noise", "local_weight": 0, "global_weight": 0, "prior_weight": 1}, r"prior='noise' acts through the local and the global term"),
        ({"local_weight": 0, "global_weight": 0, "prior_weight": 0}, r"are all zero, which leaves nothing to learn"),
        ({"random_state": "zero"}, r"'zero' cannot be used to seed"),
    ],
    ids=str,
)  # fmt: skip
def test_values_out_of_range(params, match):
    refused(match, **params)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"n_components": 2.5}, r"n_components=2.5 must be an integer"),
        ({"n_components": True}, r"n_components=True must be an integer"),
        ({"n_components": "auto"}, r"must be an integer of at least 1, or None"),
        ({"batch_size": "all"}, r"batch_size='all' must be an integer of at least 2, or 'auto'"),
        ({"max_iter": "long"}, r"max_iter='long' must be an integer of at least 1, or 'auto'"),
        ({"learning_rate": None}, r"learning_rate=None must be a real number"),
        ({"local_weight": "1"}, r"local_weight='1' must be a real number"),
        ({"encoder": torch.nn.Linear(2, 2)}, r"encoder=Linear\(...\) is a module, which"),
        ({"encoder": lambda shape, n: None}, r"encoder returned NoneType"),
        ({"encoder": lambda shape, n: torch.nn.Identity()}, r"the encoder returned Tensor"),
        ({"encoder": lambda shape, n: Returns(torch.zeros(2, n), None, None, "map")}, r"returned str as local features; its forward must return Features"),
        ({"encoder": lambda shape, n: Returns(torch.zeros(2, n), None, None, None)}, r"returned NoneType as local features"),
        ({"callbacks": 3}, r"callbacks=3 is not a list"),
        ({"callbacks": [print]}, r"which is no skorch callback; .* set_callbacks"),
    ],
    ids=["n-real", "n-bool", "n-string", "batch-string", "max_iter-string", "rate-none",
         "weight-string", "encoder-module", "encoder-none", "encoder-tensor",
         "encoder-of-text", "encoder-of-none", "callbacks-integer", "callbacks-function"],
)  # fmt: skip
def test_things_of_the_wrong_kind(params, match):
    refused(match, TypeError, **params)


def test_a_device_that_is_not_there():
    if not torch.cuda.is_available():
        refused(r"device='cuda' is not available .* use device='auto'", device="cuda")
    refused(r"device='cuda:99' is not available", device="cuda:99")


@pytest.mark.parametrize(
    ("X", "params", "match"),
    [
        (np.zeros((20, 3, 100)), {}, r"could be grey images of 3x100 pixels or series"),
        (np.zeros((20, 5, 8, 8)), {}, r"do not tell which axis holds the channels"),
        (np.zeros((20, 4, 8, 3)), {}, r"both of the first and the last"),
        (np.zeros((20, 3, 3, 3)), {"data_format": "channels_first"}, r"too small"),
        (np.zeros((20, 2, 3, 8, 8)), {}, r"has 5 axes"),
        (IMAGES, {"encoder": "mlp"}, r"encoder='mlp' cannot take image samples of shape \(3, 8, 8\)"),
        (IMAGES, {"encoder": "patch"}, r"encoder='patch' cannot take image samples"),
        (IMAGES, {"encoder": MLPEncoder}, r"encoder=MLPEncoder cannot take image samples of shape \(3, 8, 8\): it takes tables; use"),
        (IMAGES, {"encoder": PatchEncoder}, r"encoder=PatchEncoder cannot .*each side must be at least 16"),
        (X, {"encoder": ConvEncoder}, r"encoder=ConvEncoder cannot take table samples of shape \(12,\): it takes images and series"),
        (X, {"encoder": functools.partial(ConvEncoder, n_hidden=16)}, r"encoder=ConvEncoder cannot take table samples"),
        (X, {"encoder": built_by_hand(ConvEncoder)}, r"ConvEncoder cannot take table samples of shape \(12,\): it takes"),
        (IMAGES, {"encoder": built_by_hand(MLPEncoder)}, r"MLPEncoder cannot take image samples"),
        (X, {"augment": augmentations.crop}, r"augment=crop makes views of images and series, not of tables; use 'corrupt', 'noise'"),
        (X, {"augment": ("noise", functools.partial(augmentations.crop, min_area=0.5))}, r"augment=crop makes views of images"),
        (IMAGES, {"encoder": lambda shape, n: Returns(torch.zeros(2, n), None, torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 4))}, r"conv ones of shape \(1, 3, 4, 4\)"),
        (X, {"n_components": 10**8}, r"n_components=100000000 needs more than 1 GiB of parameters.* can have up to \d+ with"),
        (np.zeros((20, 16, 16)) + np.arange(20)[:, None, None], {"n_components": 10**5}, r"n_components=100000 needs .* \(1, 16, 16\) can have up to \d+"),
        (IMAGES, {"n_components": 10**6}, r"n_components=1000000 needs"),
        (IMAGES, {"augment": ("crop", "zoom")}, r"augment='zoom' is not known"),
        (IMAGES, {"validation_fraction": 0.05}, r"validation_fraction=0.05 splits 20"),
    ],
    ids=["thin", "five-channels", "two-axes-of-channels", "small", "five-axes",
         "mlp-of-images", "patch-of-small", "MLPEncoder", "PatchEncoder", "ConvEncoder",
         "partial", "lambda", "lambda-of-mlp", "crop", "partial-crop", "rows-of-a-map",
         "wide-table", "wide-patch", "wide-conv", "zoom", "validation_fraction"],
)  # fmt: skip
def test_shapes_that_do_not_fit(X, params, match):
    refused(match, X=X, **params)


@pytest.mark.parametrize(
    ("view", "match"),
    [
        (lambda b: b[:, :, 1:], r"one of shape \(8, 3, 7, 8\)"),
        (lambda b: b.double(), r"torch.float64"),
        (lambda b: b * torch.nan, r"values that are not finite"),
        (lambda b: b.numpy(), r"returned ndarray"),
        (lambda b: b.add_(1), r"both views would be the same"),
        (lambda b: b.clone() if b.mul_(2) is b else b, r"both views would be the same"),
    ],
    ids=["shape", "dtype", "nan", "array", "in-place", "a-copy-but-in-place"],
)
def test_augmentations_that_return_something_else(view, match):
    def my_view(batch, generator):
        return view(batch)

    refused(f"augment=my_view .*{match}", X=IMAGES, augment=my_view)


def test_an_encoder_of_another_size():
    class Wide(ConvEncoder):
        def __init__(self, shape, n_components):
            super().__init__(shape, n_components + 1)

    refused(
        r"global features of shape \(2, 65\)", X=IMAGES, encoder=Wide, n_components=64
    )


def test_a_critic_and_a_bound_that_return_something_else():
    class Silent(torch.nn.Module):
        def forward(self, local, global_):
            return None

    refused(
        r"critic must return \(positive, negative\) .* it returned NoneType",
        critic=lambda n_local_channels, n_components: Silent(),
    )
    refused(r"a bound must return one number", bound=lambda p, n: p)


@pytest.mark.parametrize("method", ["transform", "features", "local_scores", "score"])
def test_before_fit(method):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(DeepInfomaxTransformer(), method)(X)
    with pytest.raises(NotFittedError):
        DeepInfomaxTransformer().get_feature_names_out()
