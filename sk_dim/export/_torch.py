"""A fitted estimator as a plain module of torch, scaling included."""

from typing import Any

import torch
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from sk_dim._classifier import DeepInfomaxClassifier
from sk_dim._deep_infomax import DeepInfomaxTransformer
from sk_dim._inputs._formats import InputFormat
from sk_dim._training._model import Model
from sk_dim._training._saving import copy_net
from sk_dim.encoders import Features, SeriesEncoder, SeriesSizes

# Integers that float32 holds exactly, as `transform` has them; others become float64.
NARROW = (torch.bool, torch.uint8, torch.int8, torch.int16)


class FeatureModule(nn.Module):
    """Maps samples as a fitted transformer does, to one layer of its encoder.

    Parameters
    ----------
    model : Model
        What was learnt; it is copied.
    layer : str
        Layer to return.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Model, layer: str) -> None:
        super().__init__()
        self.fmt: InputFormat = model.fmt
        self.layer = layer
        self.encoder = _freeze(copy_net(model.net).module_.cpu().eval())
        self.register_buffer("mean", model.scaling.mean.clone())
        self.register_buffer("std", model.scaling.std.clone())
        self.requires_grad_(False)
        self.eval()

    def forward(self, X: Tensor) -> Tensor:
        """Return features (n, n_features_out), float32.

        Parameters
        ----------
        X : Tensor of shape (n, ...)
            Samples as `transform` takes them, of any real dtype.

        Returns
        -------
        Tensor of shape (n, n_features_out)
        """
        if X.ndim != 1 + len(self.fmt.layout):
            X = X.reshape(-1, *self.fmt.layout)
        batch = self.fmt.to_channels_first(X)
        if batch.dtype in NARROW or (
            batch.is_floating_point() and batch.dtype != torch.float64
        ):
            scaled = (batch.float() - self.mean.float()) / self.std.float()
        else:
            scaled = ((batch.double() - self.mean) / self.std).float()
        features = Features(*self.encoder(scaled)).layers()
        return features[self.layer].flatten(1)


class ProbabilityModule(nn.Module):
    """Maps samples to probabilities of the classes, as a fitted classifier does.

    Parameters
    ----------
    classifier : DeepInfomaxClassifier
        Fitted; what it learnt is copied.
    """

    coef: Tensor
    intercept: Tensor

    def __init__(self, classifier: DeepInfomaxClassifier) -> None:
        super().__init__()
        self.features = FeatureModule(classifier.encoder_.model_, "global")
        self.register_buffer("coef", torch.tensor(classifier.coef_))
        self.register_buffer("intercept", torch.tensor(classifier.intercept_))

    def forward(self, X: Tensor) -> Tensor:
        """Return probabilities (n, n_classes), float32, in the order of `classes_`.

        Parameters
        ----------
        X : Tensor of shape (n, ...)
            Samples as `predict` takes them, of any real dtype.

        Returns
        -------
        Tensor of shape (n, n_classes)
        """
        # In the precision of the coefficients, which may be large and cancel.
        features = self.features(X).to(self.coef.dtype)
        scores = features @ self.coef.T + self.intercept
        if len(self.coef) == 1:
            scores = torch.cat([torch.zeros_like(scores), scores], dim=1)
        return scores.softmax(dim=1).float()


def to_torch(estimator: Any) -> nn.Module:
    """Return a plain torch module that does what a fitted estimator does.

    For programs that have PyTorch but not scikit-learn in their way: the module takes
    raw samples, scales and encodes them on the device that it is moved to, and can be
    given to ``torch.export`` with batches of any size.

    Parameters
    ----------
    estimator : DeepInfomaxTransformer or DeepInfomaxClassifier
        Fitted.

    Returns
    -------
    torch.nn.Module
        In evaluation mode, on the CPU, without gradients of its weights. Of a
        transformer it maps a tensor (n, ...) of samples to the features (n,
        n_features_out) of `output_layer`, of a classifier to probabilities (n,
        n_classes) in the order of `classes_`, in float32. It shares no memory with the
        estimator.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If it is another kind of estimator.

    Notes
    -----
    Values are not checked: NaN in gives NaN out. Gaps within series are not filled.
    Series may have unequal lengths, NaN behind the last value, where the module is
    called; an exported program takes series of one length.

    float64 and wide integers are scaled in float64, as by `transform`. A device without
    float64 (MPS) takes the module after ``module.float()``.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_digits
    >>> from sk_dim import DeepInfomaxTransformer
    >>> from sk_dim.export import to_torch
    >>> X = load_digits().images  # (1797, 8, 8)
    >>> dim = DeepInfomaxTransformer(16, max_iter=1).fit(X[:200])
    >>> module = to_torch(dim)
    >>> features = module(torch.from_numpy(X[:5]))
    >>> features.shape, features.allclose(torch.from_numpy(dim.transform(X[:5])))
    (torch.Size([5, 16]), True)
    """
    estimator = unwrap(estimator)
    check_exportable(estimator)
    check_is_fitted(estimator)
    if isinstance(estimator, DeepInfomaxClassifier):
        return ProbabilityModule(estimator)
    return FeatureModule(estimator.model_, estimator._layer)


def unwrap(estimator: Any) -> Any:
    """Return what a FrozenEstimator holds, and other estimators as they are."""
    return estimator.estimator if isinstance(estimator, FrozenEstimator) else estimator


def check_exportable(estimator: Any, also: str = "") -> None:
    """Raise a TypeError unless it is a transformer or classifier of this package."""
    if not isinstance(estimator, DeepInfomaxTransformer | DeepInfomaxClassifier):
        raise TypeError(
            f"estimator={estimator!r:.60} cannot be exported; pass a fitted "
            f"DeepInfomaxTransformer or DeepInfomaxClassifier{also}. Of a search, pass "
            "its best_estimator_."
        )


def _freeze(encoder: nn.Module) -> nn.Module:
    """Turn buffers that decide which way a sample goes into Python numbers.

    What depends on the values of tensors cannot be exported.
    """
    for module in encoder.modules():
        names = ["typical_length"] if isinstance(module, SeriesEncoder) else []
        names += ["is_divided"] if isinstance(module, SeriesSizes) else []
        for name in names:
            value = module._buffers.pop(name, None)
            if value is not None:
                setattr(module, name, value.item())
    return encoder
