"""DeepInfomaxTransformer: learn features without labels, behind scikit-learn's API."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.callback import with_callbacks
from sklearn.utils import Tags
from sklearn.utils.validation import _num_samples

from sk_dim._batches import SliceLoader
from sk_dim._features import Features
from sk_dim._net_holder import NetHolder
from sk_dim._schedule import auto_epochs
from sk_dim._validation import check_integer, check_layer, check_real, warn
from sk_dim.objective import Objective

N_CANDIDATES = 256


class DeepInfomaxTransformer(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, NetHolder
):
    r"""Learn features of images, series or tables without labels, by Deep InfoMax.

    For many samples and few labels: the features, learnt from all rows, let a linear
    model do with several times fewer labelled ones than raw values need.

    An encoder makes of each sample a map of *local* features and one vector of *global*
    features. It is trained together with critics so that the global features tell as
    much as possible about every part of the sample: the mutual information of local and
    global features, bounded from below, is maximised. Training takes time in proportion
    to rows, epochs and pixels; `transform` takes one pass.

    Parameters
    ----------
    n_components : int, default=None
        Size of the global features, which are what `transform` returns by default. None
        takes all that the encoder has: "patch" 2,304 for most sizes of images and up
        to 1,280 for series, other encoders 1,024.
    input_type : {"auto", "table", "image", "series"}, default="auto"
        What a sample is. "auto" takes X of two axes without `input_shape` for a table,
        of four axes for images, of three axes for grey images where both sides are at
        least 8 and neither is over 4 times the other. Series are never guessed.
    input_shape : tuple of int, default=None
        Shape of a sample behind flattened rows: ``(H, W)``, ``(C, H, W)`` or
        ``(H, W, C)`` for images, ``(C, L)`` for series.
    data_format : {"auto", "channels_first", "channels_last"}, default="auto"
        Where the channels are. "auto" decides only where exactly one of the first and
        the last axis can hold them, being of size 1 to 4.
    encoder : {"auto", "patch", "conv", "mlp"} or callable, default="auto"
        "auto" takes "patch", whose first layer is learnt from patches of the samples,
        where all sides are at least 16, "conv", after the paper's nets, for smaller
        images and shorter series, and "mlp" for tables. Or
        ``encoder(input_shape, n_components) -> nn.Module`` whose forward returns
        :class:`sk_dim.encoders.Features`. A lambda works, but cannot be pickled.
    output_layer : {"global", "hidden", "conv", "local"}, default="global"
        What `transform` returns, maps flattened in C order. Read when `transform` is
        called, so that ``set_params(output_layer=...)`` needs no new fit.
    bound : str or callable, default="infonce"
        Lower bound on mutual information: "infonce", "jsd", "donsker_varadhan" or
        "nwj", see :mod:`sk_dim.bounds`, or ``bound(positive, negative) -> Tensor`` in
        nats.
    critic : {"dot", "concat"} or callable, default="dot"
        Encode-and-dot-product or concat-and-convolve, see :mod:`sk_dim.critics`, or
        ``critic(n_local_channels, n_components) -> nn.Module``. Settings of a critic
        are made with ``functools.partial(DotCritic, n_units=256)``.
    local_weight : float, default=1.0
        Weight :math:`\beta` of the local term, between the global features and those
        of each location.
    global_weight : float, default=2.0
        Weight :math:`\alpha` of the global term, between the global features and the
        whole sample, or with two views between the global features of the two.
    prior_weight : float, default=0.0
        Weight :math:`\gamma` of the prior term; with ``prior="noise"`` the standard
        deviation of the noise in units of that of the features.
    prior : {"uniform", "normal", "noise"}, default="uniform"
        Distribution that the global features are brought to, see :mod:`sk_dim.priors`.
    augment : str, tuple of str, None or callable, default="auto"
        How the two views of each sample are made: "auto", or one or several of "crop",
        "flip", "color", "noise", "corrupt" and "natural", see
        :mod:`sk_dim.augmentations`.
        "auto" is ``("crop", "noise")`` for images and series, which keeps colour and
        what is left and right, or the direction of time, and of the phase of a series a
        little less than raw values do; and "corrupt" for tables, which forgets what
        only one column tells of. "natural" is crop, flip and color, for photographs: it
        forgets what is left and right and where, and the "patch" encoder then gives
        mirror images equal features, for which it takes four passes in `transform` in
        place of two. None is the paper's form with one view; a callable is
        ``augment(batch, generator) -> batch``.
    max_iter : int or "auto", default="auto"
        Epochs. "auto" takes fewer the more rows there are.
    max_time : float, default=None
        Seconds to train, the learning rate annealed to them. With an integer
        `max_iter`, whichever ends first.
    batch_size : int, default=128
        Rows a step, give or take a half: an epoch is cut into equal batches.
    learning_rate : float, default=3e-3
        Highest rate of AdamW, reached after a tenth of the training.
    validation_fraction : float, default=0.0
        Share of the rows held out, whose terms go into `history_`.
    callbacks : list of skorch.callbacks.Callback, default=None
        Copied for each fit. These are skorch's; scikit-learn's own, such as
        ``sklearn.callback.ProgressBar``, come through `set_callbacks`.
    device : str or torch.device, default="auto"
        "auto" takes CUDA before MPS before the CPU.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of training; "auto" takes bfloat16 where the hardware multiplies it.
        `transform` always computes in float32.
    warm_start : bool, default=False
        Whether another `fit` goes on from the net of the last one.
    random_state : int, RandomState instance or None, default=None
        Seeds weights, batches, views and noise. The same integer gives the same bits on
        the same machine with the same number of threads, unless `max_time` is set.
    verbose : int, default=0
        1 prints a line an epoch with the terms, the throughput and the time left.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The net that trained encoder and critics.
    encoder_ : torch.nn.Module
        The trained encoder: scaled batch to Features.
    history_ : list of dict
        One dict an epoch, with the keys "epoch", "loss", "local", "global", "prior",
        "valid_loss", "valid_local", "valid_global" (all in nats, nan for what is not
        trained), "learning_rate", "seconds" and "samples_per_second".
    n_iter_ : int
        Epochs trained.
    input_shape_ : tuple of int
        Shape of a sample, channels first.
    n_features_in_ : int
        Product of `input_shape_`. Flattened rows of so many values are accepted.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns, where X has names that are all strings.
    device_ : torch.device
        Where the net is.
    precision_ : str
        "float32" or "bfloat16", what training used.

    See Also
    --------
    sklearn.decomposition.PCA : Linear features, in no time.
    sklearn.frozen.FrozenEstimator : Keeps a fitted transformer from being refitted.

    Notes
    -----
    `y` is ignored everywhere, so a pipeline cannot make the features supervised by
    accident. A bound on mutual information is not a measure of quality: a higher
    `score` need not mean better features; judge them by what is built on them.

    Ctrl-C ends the training and keeps the model of the epochs done, with a warning; a
    second one within two seconds is raised.

    References
    ----------
    R. D. Hjelm, A. Fedorov, S. Lavoie-Marchildon, K. Grewal, P. Bachman, A. Trischler,
    Y. Bengio (2018). Learning deep representations by mutual information estimation
    and maximization. arXiv:1808.06670.

    P. Bachman, R. D. Hjelm, W. Buchwalter (2019). Learning Representations by
    Maximizing Mutual Information Across Views. arXiv:1906.00910.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sk_dim import DeepInfomaxTransformer
    >>> X = load_digits().images  # (1797, 8, 8)
    >>> dim = DeepInfomaxTransformer(max_iter=1, random_state=0).fit(X)
    >>> dim.transform(X[:5]).shape
    (5, 1024)
    >>> dim.features(X[:5])["local"].shape
    (5, 64, 4, 4)
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        input_type: str = "auto",
        input_shape: Sequence[int] | None = None,
        data_format: str = "auto",
        encoder: str | Callable = "auto",
        output_layer: str = "global",
        bound: str | Callable = "infonce",
        critic: str | Callable = "dot",
        local_weight: float = 1.0,
        global_weight: float = 2.0,
        prior_weight: float = 0.0,
        prior: str = "uniform",
        augment: str | Sequence[str] | Callable | None = "auto",
        max_iter: int | str = "auto",
        max_time: float | None = None,
        batch_size: int = 128,
        learning_rate: float = 3e-3,
        validation_fraction: float = 0.0,
        callbacks: list | None = None,
        device: str | torch.device = "auto",
        precision: str = "auto",
        warm_start: bool = False,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.n_components = n_components
        self.input_type = input_type
        self.input_shape = input_shape
        self.data_format = data_format
        self.encoder = encoder
        self.output_layer = output_layer
        self.bound = bound
        self.critic = critic
        self.local_weight = local_weight
        self.global_weight = global_weight
        self.prior_weight = prior_weight
        self.prior = prior
        self.augment = augment
        self.max_iter = max_iter
        self.max_time = max_time
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.callbacks = callbacks
        self.device = device
        self.precision = precision
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks
    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Learn scaling and encoder.

        Parameters
        ----------
        X : array-like of shape (n, features), (n, H, W), (n, C, H, W), (n, H, W, C) \
                or (n, C, L)
            At least 2 samples, of any real dtype.
        y : None
            Ignored.

        Returns
        -------
        DeepInfomaxTransformer

        Raises
        ------
        ValueError
            Where X or a parameter cannot be used, before the first epoch; where the
            training diverges, after which the estimator is not fitted.
        """
        n_epochs = None
        if not (isinstance(self.max_iter, str) and self.max_iter == "auto"):
            n_epochs = check_integer("max_iter", self.max_iter, 1)
        if self.max_time is not None:
            check_real("max_time", self.max_time, exclusive=True)
        is_new = not (self.warm_start and hasattr(self, "net_"))
        with self._unchanged_if_it_fails(is_new=is_new):
            rows = self._prepare(X, is_new=is_new)
            if n_epochs is None and self.max_time is None:
                n_epochs = auto_epochs(len(rows))
            self._train(rows, X, n_epochs, is_partial=False)
        return self

    def partial_fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Train for one epoch on the rows given, at a constant learning rate.

        The first call learns the scaling from its rows, so they should be typical. The
        state of the optimiser is kept from call to call, and when the estimator is
        saved.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            As in `fit`; at least 2 samples.
        y : None
            Ignored.

        Returns
        -------
        DeepInfomaxTransformer
        """
        is_new = not hasattr(self, "net_")
        if not is_new and _num_samples(X) == 1 and len(self._check_rows(X)) == 1:
            warn(
                "a chunk of one row was left out, since it has no other to be told "
                "from; join it to the next chunk."
            )
            return self
        with self._unchanged_if_it_fails(is_new=is_new):
            rows = self._prepare(X, is_new=is_new)
            self._can_resume = True
            self._train(rows, X, 1, is_partial=True)
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Compute features.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Samples of the shape that `fit` saw, or flattened rows of them.

        Returns
        -------
        ndarray of shape (n, n_features_out), float32
            Of `output_layer`.

        Raises
        ------
        ValueError
            Where samples have another shape than in `fit`, or the encoder lacks the
            layer.
        """
        rows = self._check_rows(X)
        layer = self._layer
        return self._collect(
            rows, lambda features: {layer: features.layers()[layer].flatten(1)}
        )[layer]

    def features(self, X: ArrayLike) -> dict[str, np.ndarray]:
        """Compute the features of every layer, in one pass.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Samples of the shape that `fit` saw, or flattened rows of them.

        Returns
        -------
        dict of ndarray of shape (n, ...), float32
            Under "global" (n, n_components) and "local" (n, c, ...), and "hidden" and
            "conv" where the encoder has them. Maps keep their axes.
        """
        return self._collect(self._check_rows(X), Features.layers)

    def local_scores(self, X: ArrayLike) -> np.ndarray:
        """Score each location of a sample with the sample's own global features.

        High scores mark the parts that the global features tell most about.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Samples of the shape that `fit` saw, or flattened rows of them.

        Returns
        -------
        ndarray of shape (n, n_locations), float32
            Scores of the local critic, the locations in C order.
        """
        rows = self._check_rows(X)
        objective = self._objective()
        return self._collect(
            rows, lambda features: {"scores": objective.local_scores(features)}
        )["scores"]

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Bound the mutual information of local and global features.

        The infoNCE bound of the local term with 256 candidates, in evaluation mode and
        without views, whatever `bound` and `batch_size` were: comparable between fits,
        larger is better, and **no measure of the quality** of the features.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            At least 2 samples; with fewer than 256 they are candidates several times.
        y : None
            Ignored.

        Returns
        -------
        float
            In nats, at most log 256, about 5.55.
        """
        rows = self._check_rows(X, n_min=2)
        objective = self._objective()
        # Shuffled, so that sorted rows have other candidates than their neighbours.
        loader = SliceLoader(rows, N_CANDIDATES, torch.Generator().manual_seed(0))
        with torch.inference_mode():
            bounds = [
                objective.candidate_bound(
                    self.net_.evaluation_step(batch), N_CANDIDATES
                )
                for batch in loader
            ]
        return float(torch.cat(bounds).double().mean())

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    @property
    def _layer(self) -> str:
        return check_layer(self.output_layer, self.net_.layer_shapes)

    @property
    def _n_features_out(self) -> int:
        return int(np.prod(self.net_.layer_shapes[self._layer]))

    def _objective(self) -> Objective:
        """Return the objective, which must have a local critic."""
        if "local" not in self.net_.criterion_.critics:
            raise ValueError(
                "local_weight=0 trained no local critic, so there are no local scores; "
                "fit with a positive local_weight."
            )
        return self.net_.criterion_
