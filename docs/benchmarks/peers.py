"""What a user could install in place of sk_dim: packages that learn without labels.

Each function takes training samples and a seed, where a budget is kept also seconds,
and returns a transform. The packages are imported late: none of them is needed here.
"""

import importlib
import time
import warnings

import numpy as np
import torch
from data_sets import flat
from sklearn.base import BaseEstimator, TransformerMixin


def scaled(train):
    """Training samples as rows and the function that makes rows of others."""
    scale = float(train.std())
    return flat(train).astype(
        np.float32
    ) / scale, lambda samples: flat(samples).astype(np.float32) / scale


def umap(train, seed):
    from umap import UMAP

    X, prepare = scaled(train)
    fitted = UMAP(n_components=32, random_state=seed, n_jobs=1).fit(X)
    return lambda samples: fitted.transform(prepare(samples))


def torchdr_umap(train, seed):
    """UMAP in torch; on training samples it returns where it put them."""
    from torchdr import UMAP

    X, prepare = scaled(train)
    fitted = UMAP(n_components=32, random_state=seed, device="cpu", backend=None)
    own = np.asarray(fitted.fit_transform(X))

    def transform(samples):
        if samples is train:
            return own
        return np.asarray(fitted.transform(prepare(samples), X_train=X))

    return transform


# Classes of aeon and their modules.
MODULES = {
    "MiniRocket": "convolution_based",
    "MultiRocket": "convolution_based",
    "HydraTransformer": "convolution_based",
    "QUANTTransformer": "interval_based",
    "Catch22": "feature_based",
}


def aeon_features(name, train, seed):
    """Compute fixed features of series by aeon, by the name of their class."""
    module = importlib.import_module(f"aeon.transformations.collection.{MODULES[name]}")
    params = {"QUANTTransformer": {}, "Catch22": {"replace_nans": True}}
    dtype = np.float64 if name == "Catch22" else np.float32  # which it can compile

    def prepare(samples):
        return samples.reshape(len(samples), -1, samples.shape[-1]).astype(dtype)

    fitted = getattr(module, name)(**params.get(name, {"random_state": seed}))
    fitted.fit(prepare(train))
    return lambda samples: np.asarray(fitted.transform(prepare(samples)))


class SparseScaler(TransformerMixin, BaseEstimator):
    """Scale Hydra's counts as aeon's HydraClassifier does: roots, zeros stay zeros."""

    def fit(self, X, y=None):
        roots = np.sqrt(np.maximum(X, 0))
        self.mean_ = roots.mean(axis=0)
        self.scale_ = roots.std(axis=0, ddof=1) + (roots == 0).mean(axis=0) ** 4 + 1e-8
        return self

    def transform(self, X):
        roots = np.sqrt(np.maximum(X, 0))
        return (roots != 0) * (roots - self.mean_) / self.scale_


def dtw_distances(train, seed):
    """Distances to the training samples, time warped by up to a tenth of the length."""
    from aeon.distances import dtw_pairwise_distance

    def transform(samples):  # those among the training samples serve for nothing
        return None if samples is train else dtw_pairwise_distance(samples, train, 0.1)

    return transform


def cebra(train, seed, seconds):
    """CEBRA without labels: neighbours are rows that follow one another."""
    from cebra import CEBRA

    torch.manual_seed(seed)
    start = time.perf_counter()
    X, prepare = scaled(train)

    def model(n_steps):
        return CEBRA(
            output_dimension=64, batch_size=512, max_iterations=n_steps, device="cpu"
        ).fit(X)

    model(20)
    a_step = (time.perf_counter() - start) / 20
    fitted = model(max(20, int(seconds / a_step)))
    return lambda samples: fitted.transform(prepare(samples))


def encdr(train, seed, seconds):
    """Train an autoencoder of fully connected layers, by Lightning."""
    from encdr import ENCDR

    X, prepare = scaled(train)
    quiet = ("logger", "enable_progress_bar", "enable_checkpointing")
    quiet = dict.fromkeys((*quiet, "enable_model_summary"), False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = ENCDR(
            hidden_dims=[512],
            latent_dim=64,
            max_epochs=10**6,
            batch_size=128,
            random_state=seed,
            trainer_kwargs={"max_time": {"seconds": seconds}} | quiet,
        ).fit(X)
    return lambda samples: fitted.transform(prepare(samples))
