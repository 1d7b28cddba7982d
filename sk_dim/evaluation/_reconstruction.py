"""How much of an image its features keep: what a decoder makes of them."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from skorch import NeuralNet
from torch import Tensor, nn

from sk_dim._devices import choose_device, seeded
from sk_dim._validation import check_integer
from sk_dim.evaluation._probes import represent
from sk_dim.evaluation._samples import read_samples
from sk_dim.evaluation._similarity import ms_ssim

N_CHANNELS = 32  # of the decoder's last map but one, doubled by each one before it
MOST_CHANNELS = 256
FIRST_SIDE = 5  # of its first map, at most


@dataclass(frozen=True)
class Reconstruction:
    """Images, and what a decoder made of their features.

    Parameters
    ----------
    images, reconstructed : ndarray of shape (n, h, w) or (n, h, w, 3)
        Float32, from 0 to 1. The decoder was not trained on these.
    ms_ssim : float
        Mean structural similarity of the two, see :func:`ms_ssim`.
    mean_squared_error : float
        Of the two.

    Examples
    --------
    >>> images = np.zeros((1, 8, 8), dtype=np.float32)
    >>> print(Reconstruction(images, images, 1.0, 0.0))
    1 images: MS-SSIM 1.000, mean squared error 0.0000
    """

    images: np.ndarray
    reconstructed: np.ndarray
    ms_ssim: float
    mean_squared_error: float

    def __str__(self) -> str:
        return (
            f"{len(self.images)} images: MS-SSIM {self.ms_ssim:.3f}, "
            f"mean squared error {self.mean_squared_error:.4f}"
        )


def reconstruct(
    model: Any,
    X: Any,
    *,
    X_test: Any = None,
    layer: str | None = None,
    n_epochs: int = 30,
    device: Any = "auto",
    random_state: Any = None,
) -> Reconstruction:
    """Train a decoder on frozen features, by the squared error, and compare images.

    The paper's measure of how much of an image its features keep. Features that
    reconstruct well need not be those by which classes are told apart.

    Parameters
    ----------
    model : fitted transformer
        Any with `transform`, of images.
    X : array-like of shape (n, ...)
        Images that it takes, grey or of three channels.
    X_test : array-like of shape (m, ...), default=None
        Images to compare. None holds out a fifth of `X`.
    layer : str, default=None
        Layer of the encoder. None takes the global features, or what `transform`
        returns.
    n_epochs : int, default=30
        That the decoder is trained for.
    device : str or torch.device, default="auto"
        Where it is trained.
    random_state : int, RandomState instance or None, default=None
        Seed of the decoder and of what is held out.

    Returns
    -------
    Reconstruction
        Of the images to compare.

    Raises
    ------
    ValueError or TypeError
        If the samples are no grey or colour images, or the model has no such layer.

    See Also
    --------
    encoded_information : What features tell of their samples, in nats.
    sk_dim.plotting.ReconstructionDisplay : Draws the images beside one another.

    Notes
    -----
    The decoder is a fully connected layer and transposed convolutions that double the
    sides, after DCGAN. It learns the differences from the mean image, by AdamW in
    batches of 64.

    References
    ----------
    R. D. Hjelm et al. (2018). Learning deep representations by mutual information
    estimation and maximization. arXiv:1808.06670, section 4.2.

    A. Radford, L. Metz, S. Chintala (2015). Unsupervised Representation Learning with
    Deep Convolutional Generative Adversarial Networks. arXiv:1511.06434.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sk_dim import DeepInfomaxTransformer
    >>> X = load_digits().images[:300]
    >>> dim = DeepInfomaxTransformer(max_iter=1, random_state=0).fit(X)
    >>> found = reconstruct(dim, X, n_epochs=2, random_state=0)
    >>> found.reconstructed.shape
    (60, 8, 8)
    """
    n_epochs = check_integer("n_epochs", n_epochs, 1)
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    images, Z = _read(model, X, layer)
    if X_test is None:
        rows = np.arange(len(images))
        kept, held_out = train_test_split(rows, test_size=0.2, random_state=seed)
        images, test_images = images[kept], images[held_out]
        Z, Z_test = Z[kept], Z[held_out]
    else:
        test_images, Z_test = _read(model, X_test, layer)
    # In one range, by what the decoder is trained on.
    low, high = images.min(), images.max()
    span = max(float(high - low), 1e-12)
    images, test_images = (images - low) / span, (test_images - low) / span
    scaler = StandardScaler().fit(Z)
    planes = _planes(images)
    mean = planes.mean(axis=0)
    chosen = choose_device(device)
    with seeded(seed, chosen):
        net = NeuralNet(
            _Decoder,
            nn.MSELoss,
            module__n_in=Z.shape[1],
            module__shape=planes.shape[1:],
            optimizer=torch.optim.AdamW,
            lr=3e-3,
            batch_size=64,
            max_epochs=n_epochs,
            iterator_train__shuffle=True,
            iterator_train__drop_last=len(images) > 64,
            train_split=None,
            device=chosen,
            verbose=0,
        )
        net.fit(scaler.transform(Z).astype(np.float32), planes - mean)
        found = net.predict(scaler.transform(Z_test).astype(np.float32))
    found = (found + mean).clip(0, 1)
    found = found[:, 0] if test_images.ndim == 3 else np.moveaxis(found, 1, -1)
    test_images = test_images.clip(0, 1).astype(np.float32)
    return Reconstruction(
        test_images,
        found,
        float(ms_ssim(test_images, found).mean()),
        float(np.square(test_images - found).mean()),
    )


def _read(model: Any, X: Any, layer: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Return images (n, h, w) or (n, h, w, 3), as they are, and features (n, d)."""
    kind, images = read_samples(X, model)
    if kind != "image":
        raise ValueError(
            f"samples are read as {kind}, which no decoder of images can be trained "
            "on; pass images."
        )
    layers = represent(model, X)
    name = layer or ("global" if "global" in layers else next(iter(layers)))
    if name not in layers:
        raise ValueError(
            f"layer={layer!r} is not a layer of this model; it has "
            f"{', '.join(map(repr, layers))}."
        )
    return images, layers[name]


def _planes(images: np.ndarray) -> np.ndarray:
    """View images as (n, c, h, w), float32."""
    images = images[:, None] if images.ndim == 3 else np.moveaxis(images, -1, 1)
    return np.ascontiguousarray(images, dtype=np.float32)


class _Decoder(nn.Module):
    """Features to images: a map of few locations, doubled until it is large enough."""

    def __init__(self, n_in: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        n_out, *self.sides = shape
        n_doublings = max(1, math.ceil(math.log2(max(self.sides) / FIRST_SIDE)))
        self.first = [math.ceil(side / 2**n_doublings) for side in self.sides]
        widths = [
            min(N_CHANNELS * 2**number, MOST_CHANNELS)
            for number in reversed(range(n_doublings))
        ]
        self.linear = nn.Linear(n_in, widths[0] * math.prod(self.first), bias=False)
        layers: list[nn.Module] = [nn.BatchNorm2d(widths[0]), nn.ReLU()]
        for width, following in pairwise(widths):
            layers.append(nn.ConvTranspose2d(width, following, 4, 2, 1, bias=False))
            layers += [nn.BatchNorm2d(following), nn.ReLU()]
        last = nn.ConvTranspose2d(widths[-1], n_out, 4, 2, 1, bias=False)
        # Its images are differences from the mean image, at first none.
        nn.init.zeros_(last.weight)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, features: Tensor) -> Tensor:
        """Decode features (n, d)."""
        maps = self.linear(features).view(len(features), -1, *self.first)
        height, width = self.sides
        return self.layers(maps)[:, :, :height, :width]
