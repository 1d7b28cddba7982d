"""DeepInfomaxTransformer: learn features without labels, behind scikit-learn's API."""

import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils import Tags
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import _num_samples, check_is_fitted

from sk_dim._inputs._broken import leave_out_broken
from sk_dim._inputs._outputs import (
    BatchFunction,
    is_dask,
    map_dask,
    refuse_frames,
    write_layer,
)
from sk_dim._inputs._rows import Rows, check_rows, read_array
from sk_dim._inputs._shards import is_shards, read_with_groups
from sk_dim._training import _launch as launch
from sk_dim._training._attributes import ModelAttributes
from sk_dim._training._callbacks import EpochReport, EpochTasks, copy_callbacks
from sk_dim._training._checkpoint_files import read
from sk_dim._training._checkpoints import Checkpoint
from sk_dim._training._group import count_devices, ranks_here
from sk_dim._training._preparing import prepare, resume, rows_like
from sk_dim._training._progress import Position
from sk_dim._training._schedule import batch_size_of, n_epochs_of
from sk_dim._validation import check_layer, warn
from sk_dim.arrays import Shards
from sk_dim.encoders._contract import Features
from sk_dim.objective import Objective

N_CANDIDATES = 256


class DeepInfomaxTransformer(
    ModelAttributes,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    CallbackSupportMixin,
    BaseEstimator,
):
    r"""Learn features of images, series or tables without labels, by Deep InfoMax.

    For many samples and few labels: a linear model on the features, which are learnt
    from all rows, needs several times fewer labels than one on raw values.

    An encoder maps each sample to *local* features, one vector for each location, and
    to one vector of *global* features. Encoder and critics are trained together to
    maximise a lower bound on the mutual information between the two. Training time
    grows linearly with rows, epochs and pixels; `transform` takes one pass.

    Parameters
    ----------
    n_components : int, default=None
        Number of global features, the columns that `transform` returns by default. If
        None, the encoder's full width: for "patch", 2,816 on most image sizes and at
        most 1,280 on series; for "resnet" 960; for the other encoders, 1,024. For
        "series", powers of 2 are best.
    input_type : {"auto", "table", "image", "series"}, default="auto"
        What a sample is. "auto" reads X with two axes as a table (unless `input_shape`
        is given), with four axes as images, and with three axes as grey images if both
        sides are at least 8 and neither is more than 4 times the other. Series are
        never guessed, but images that look like series draw a warning.
    input_shape : tuple of int, default=None
        Shape of a sample if X holds flattened rows: ``(H, W)``, ``(C, H, W)`` or
        ``(H, W, C)`` for images, ``(C, L)`` for series.
    data_format : {"auto", "channels_first", "channels_last"}, default="auto"
        Which axis holds the channels. "auto" takes the first or the last axis of an
        image if only one of them has size 1 to 4. It reads series as (channels,
        length); if the first axis is longer than the last, it reads them as (length,
        channels) if only the last axis has size 1 to 4. Otherwise an error asks for
        this parameter. Of series of unequal length, the axis of equal sizes holds the
        channels.
    encoder : str or callable, default="auto"
        "patch" learns its first layer by clustering patches of the samples, "series"
        has kernels of all time scales and needs little training, "conv" is a
        convolutional net like the paper's, "resnet" a larger one for many images and a
        GPU, "mlp" is for tables. "auto" takes "series"
        for series of at least 9 values, "patch" for images if all sides are at least
        16, "conv" for smaller ones, and "mlp" for tables. A callable
        ``encoder(input_shape, n_components) -> nn.Module`` must return a module whose
        forward returns :class:`sk_dim.encoders.Features`. A lambda works, but cannot be
        pickled.
    output_layer : {"global", "hidden", "conv", "local"}, default="global"
        Layer of the encoder that `transform` returns: the global features, the layer
        before them, the last map, or the map of local features. Maps are flattened in C
        order. `transform` reads it at each call, so that
        ``set_params(output_layer="conv")`` takes effect without a new `fit`.
    bound : str or callable, default="infonce"
        Lower bound on mutual information, "infonce", "donsker_varadhan", "nwj" or "kl",
        or on another divergence, "jsd", "reverse_kl", "hellinger" or "chi_squared", see
        :mod:`sk_dim.bounds`. Or ``bound(positive, negative) -> Tensor``.
    critic : {"dot", "concat"} or callable, default="dot"
        Function that scores pairs of local and global features: "dot" is the paper's
        encode-and-dot-product, "concat" its concat-and-convolve, see
        :mod:`sk_dim.critics`. Or ``critic(n_local_channels, n_components) ->
        nn.Module``; ``functools.partial(DotCritic, n_units=256)`` changes a setting.
    local_weight : float, default=1.0
        Weight :math:`\beta` of the local term: the bound between the global features
        and the local features of each location.
    global_weight : float, default=2.0
        Weight :math:`\alpha` of the global term: with two views of each sample, the
        bound between the global features of one view and those of the other; with one
        view (``augment=None``), between the global features and the whole local map.
    prior_weight : float, default=0.0
        Weight :math:`\gamma` of the prior term. If ``prior="noise"``, it is instead the
        standard deviation of the noise, relative to that of the features.
    prior : {"uniform", "normal", "noise"}, default="uniform"
        Distribution that the prior term drives the global features to, see
        :mod:`sk_dim.priors`.
    tasks : str, callable, tuple or dict, default=()
        What the encoder is trained for beside these terms: "coordinates",
        "relative_coordinates" and "multiscale", see :mod:`sk_dim.tasks`. One of them, a
        tuple, or a dict with the weight of each, which otherwise is 1. Or
        ``task(features, bound, critic) -> nn.Module``.
    augment : str, tuple of str, None or callable, default="auto"
        Random changes that make two views of each sample. The features do not keep what
        differs between the views, so choose only changes that leave your labels the
        same. Choices are "crop", "flip", "color", "noise", "corrupt", "warp",
        "natural" and "occlude", or a tuple of them, as in ``("auto", "occlude")``, see
        :mod:`sk_dim.augmentations`.

        - "auto" is ``("crop", "noise")`` for images: the features keep colour, left and
          right; exact position and size are kept less well. For series it is a crop by
          at most a tenth and "warp": the features keep amplitude, the direction of time
          and most of the phase. For tables it is "corrupt", which replaces values by
          those of other rows, so that the features keep what several columns tell.
        - "natural" is crop, flip and color, for photographs. Left, right and position
          are forgotten. The "patch" encoder then averages over mirror images, so
          `transform` takes four passes instead of two.
        - "occlude" hides a part of each view from the global features alone, or of each
          sample where no other one is named, as in the paper. `fit` takes twice as
          long.
        - None trains on one view, as in the paper.
        - A callable is ``augment(batch, generator) -> batch``.
    max_iter : int or "auto", default="auto"
        Number of epochs. "auto" takes 35 for 1,000 rows, and a third of that for ten
        times the rows; with the encoder "series", 0.3 times that.
    max_time : float, default=None
        Seconds of training, counted from its first step to its last, so without the
        preparation, and the map that "patch" learns in the end (1 to 2 s on small
        images). The learning rate falls to zero when they are over. If `max_iter` is an
        integer, training ends at whichever comes first; else the time alone decides.
    batch_size : int or "auto", default="auto"
        Target batch size. An epoch is cut into equal batches of 0.75 to 1.5 times as
        many rows. "auto" takes 128 on a CPU. A GPU takes no longer for 512: there it is
        a fortieth of the rows, 128 at least and 512 at most, and ``max_iter="auto"`` as
        many steps as batches of 128 would take.
    learning_rate : float, default=3e-3
        Peak learning rate of AdamW, reached after a tenth of the training.
    validation_fraction : float, default=0.0
        Fraction of the rows held out, or of the groups if `fit` gets any. Their terms
        are in `history_`.
    callbacks : list of skorch.callbacks.Callback, default=None
        Callbacks of skorch, copied for each fit. Those of scikit-learn, such as
        ``sklearn.callback.ProgressBar``, are given to `set_callbacks`.
    device : str or torch.device, default="auto"
        Where to compute. "auto" prefers CUDA to MPS to the CPU.
    n_devices : int or "all", default=1
        Number of GPUs that train together, or of processes on the CPU: batches are
        divided among them, and `fit` starts a process for each. In a process group, of
        ``torchrun`` for one, "all" joins its other processes. See the guide's page on
        many devices. `transform` computes on one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Precision of training. "auto" is bfloat16 if the hardware multiplies it.
        `transform` always computes in float32.
    warm_start : bool, default=False
        If True, `fit` continues from the net of the last fit, or from the checkpoint.
    checkpoint : str or path-like, default=None
        File that `fit` writes after each epoch, and every 5 minutes within one. After
        a kill, the same call with ``warm_start=True`` goes on from the file, to the
        same bits on the same machine with the same `n_devices` unless `max_time` is
        set. Loading it runs no code. See the guide on long runs.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, batches, views and noise. On CPUs the same integer gives the
        same bits on the same machine with the same number of threads, unless
        `max_time` is set; on CUDA devices only under
        ``torch.use_deterministic_algorithms(True)``.
    verbose : int, default=0
        If 1, print a line per epoch with terms, throughput and time left.

    Attributes
    ----------
    model_ : Model
        What was learnt, in one object: format of the samples, scaling and net.
    net_ : skorch.NeuralNet
        Net that trained encoder and critics.
    encoder_ : torch.nn.Module
        Trained encoder, from a scaled batch to Features.
    history_ : list of dict
        One dict per epoch, with the keys "epoch", "loss", "local", "global", "prior",
        "valid_loss", "valid_local", "valid_global" (in nats; nan for terms that are
        not trained), "learning_rate", "seconds" and "samples_per_second", and two for
        each task, its name and "valid_" before it. Terms of held-out rows are those of
        the encoder as `transform` uses it.
    n_iter_ : int
        Number of complete epochs.
    input_shape_ : tuple of int
        Shape of a sample, channels first.
    n_features_in_ : int
        Number of values of a sample. Flattened rows of as many values are accepted.
    feature_names_in_ : ndarray of shape (n_features,)
        Column names, if X has names that are all strings.
    device_ : torch.device
        Device of the net.
    precision_ : str
        Precision that training used, "float32" or "bfloat16".
    batch_size_ : int
        Target batch size of the last training.

    See Also
    --------
    sklearn.decomposition.PCA : Linear features, in no time.
    sklearn.frozen.FrozenEstimator : Keeps a fitted transformer from being refitted.

    Notes
    -----
    `y` is ignored everywhere, so a pipeline cannot make the features supervised by
    accident. A bound on mutual information does not measure quality: a higher `score`
    need not mean better features. Judge features by the models built on them.

    Ctrl-C ends the training with a warning and keeps the model of the last step; a
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

    # Where features go is said at each call, not routed.
    __metadata_request__transform: ClassVar = {"out": UNUSED}

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
        tasks: str | Callable | Sequence | Mapping = (),
        augment: str | Sequence[str] | Callable | None = "auto",
        max_iter: int | str = "auto",
        max_time: float | None = None,
        batch_size: int | str = "auto",
        learning_rate: float = 3e-3,
        validation_fraction: float = 0.0,
        callbacks: list | None = None,
        device: str | torch.device = "auto",
        n_devices: int | str = 1,
        precision: str = "auto",
        warm_start: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
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
        self.tasks = tasks
        self.augment = augment
        self.max_iter = max_iter
        self.max_time = max_time
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.callbacks = callbacks
        self.device = device
        self.n_devices = n_devices
        self.precision = precision
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks
    def fit(
        self, X: ArrayLike | Shards, y: Any = None, *, groups: ArrayLike | None = None
    ) -> Self:
        """Learn scaling and encoder.

        Parameters
        ----------
        X : array-like of shape (n, features), (n, H, W), (n, C, H, W), (n, H, W, C) \
                or (n, C, L)
            At least 2 samples, of any real dtype. Series may be a list of arrays
            (C, L_i) of unequal length, or end in NaN; gaps of NaN are interpolated.
            What is larger than memory is read by rows: memory maps, arrays of h5py,
            zarr and dask, data sets of torch, see :class:`sk_dim.arrays.LazyArray`. Or
            a function without parameters that yields arrays of samples, the same at
            each call; it is called once an epoch and twice before. Images in files are
            loaded by :class:`ImageLoader`; those that cannot be read are left out.
        y : None
            Ignored.
        groups : array-like of shape (n,), default=None
            What samples belong to, such as the patient whose recording they were cut
            from: strings, numbers or anything else that can be hashed. Samples of one
            group are no negatives of one another, so the critics learn nothing of what
            tells them apart. With `validation_fraction`, whole groups are held out.
            None means that no two samples belong together. The features of the encoder
            "series" are learnt without negatives, so groups do not change them.

        Returns
        -------
        DeepInfomaxTransformer

        Raises
        ------
        ValueError or TypeError
            If X or a parameter cannot be used, before the first epoch, or if the
            training diverges; also if the checkpoint cannot be written, is damaged, or
            of other data or parameters. The estimator is then as it was before the
            call, and so is the file.
        """
        goes_on = self.warm_start and hasattr(self, "model_")
        saved = self._read_checkpoint()
        if goes_on and saved is not None:
            # A training that was cut short is gone on with, else the model in memory.
            goes_on = saved["training"] is None
            saved = None if goes_on else saved
        with self._unchanged_if_it_fails(goes_on):
            X, codes = read_with_groups(self, X, groups)
            rows = self._open(X, codes, goes_on)
            checkpoint, position = self._open_checkpoint(rows, codes, saved)
            n_epochs = n_epochs_of(self, self.model_, len(rows))
            context = self._init_callback_context(max_subtasks=n_epochs)
            context.call_on_fit_task_begin(estimator=self, X=X)
            if saved is None or position is not None:
                self._train(
                    rows,
                    n_epochs,
                    tasks=[EpochTasks(self, context, X)],
                    max_time=self.max_time,
                    is_annealed=True,
                    keeps_moments=self.warm_start,
                    groups=codes,
                    checkpoint=checkpoint,
                    position=position,
                )
            elif checkpoint is not None:  # of a training that was finished
                checkpoint.restore_callbacks()
            context.call_on_fit_task_end(estimator=self, X=X)
        return self

    def partial_fit(
        self, X: ArrayLike, y: Any = None, *, groups: ArrayLike | None = None
    ) -> Self:
        """Train for one epoch on the rows given, at a constant learning rate.

        The first call learns the scaling from its rows, so they should be typical. The
        state of the optimiser is kept from call to call, and when the estimator is
        saved.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            As in `fit`; at least 2 samples. A single one is left out with a warning,
            unless the call is the first.
        y : None
            Ignored.
        groups : array-like of shape (n,), default=None
            As in `fit`; of at least two groups, so mix recordings in each chunk.

        Returns
        -------
        DeepInfomaxTransformer

        Raises
        ------
        ValueError or TypeError
            As in `fit`.
        """
        goes_on = hasattr(self, "model_")
        launch.check_no_launch("partial_fit", self.n_devices, self.device)
        X = read_array(self, X)
        if goes_on and _num_samples(X) == 1:
            self._rows(X)
            warn(
                "a chunk of one row was left out, since it has no other to be told "
                "from; join it to the next chunk."
            )
            return self
        with self._unchanged_if_it_fails(goes_on):
            X, codes = read_with_groups(self, X, groups)
            self._train(
                self._open(X, codes, goes_on),
                1,
                tasks=[],
                max_time=None,
                is_annealed=False,
                keeps_moments=True,
                groups=codes,
            )
        return self

    def fit_transform(self, X: ArrayLike, y: Any = None, **fit_params: Any) -> Any:
        """Learn from samples, and compute their features.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            As in `fit`, but no function that yields shards.
        y : None
            Ignored.
        **fit_params : dict
            Of `fit`.

        Returns
        -------
        ndarray of shape (n, n_features_out), float32
            As `transform` returns it.

        Raises
        ------
        ValueError or TypeError
            As in `fit`.
        """
        if is_shards(X):
            raise TypeError(
                "X is a function, which only fit takes, outside of a pipeline; call "
                "fit(X), and then transform for one shard at a time."
            )
        if is_dask(X):
            refuse_frames(self)
        return super().fit_transform(X, y, **fit_params)

    def transform(self, X: ArrayLike, *, out: Any = None) -> Any:
        """Compute features.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Samples of the shape that `fit` saw, or flattened rows of them. For the
            encoder "series", the length may be another.
        out : array-like of shape (n, n_features_out), float32, default=None
            Where to write the features, batch by batch: anything with `__setitem__`,
            such as a memory map, or an array of zarr or h5py.

        Returns
        -------
        ndarray of shape (n, n_features_out), float32
            Of `output_layer`. If X is an array of dask, one of dask that is not
            computed yet; with `out`, that. NaN in rows that cannot be read.

        Raises
        ------
        ValueError or TypeError
            If samples have another shape than in `fit`, the encoder lacks the layer,
            or `out` has another shape or dtype, or cannot be written to. Also if
            `set_output` asks for a frame, but `out` or an array of dask for none.
        """
        check_is_fitted(self)
        if is_dask(X) or out is not None:
            refuse_frames(self)
        if is_dask(X) and out is None:
            check_rows(self, X, self.model_.fmt, n_min=0)
            return map_dask(self.batch_function(), X)
        return write_layer(self.model_, self._layer, self._rows(X), out)

    def batch_function(
        self, column: str | None = None, *, output: str = "features"
    ) -> BatchFunction:
        """Make a function of batches, for engines that process large data.

        For ``map_batches`` of Ray Data, ``datasets.map(..., batched=True)``, record
        batches and tables of pyarrow, frames of polars and pandas, dicts of columns,
        and arrays. It can be pickled, and holds this estimator.

        Parameters
        ----------
        column : str, default=None
            Column that holds the samples. None takes the columns that `fit` saw, by
            their names and in their order; if these had no names, the only column, or
            all columns as those of a table.
        output : str, default="features"
            Name of the column of features, float32, which a batch must not have yet.

        Returns
        -------
        callable
            From a batch to the same with a column of features more; from an array to an
            array of features (n, n_features_out). Other columns stay as they are.

        Raises
        ------
        ValueError or TypeError
            If a name is no string; from the function, if a batch lacks the column, or
            has the one of features already.

        Examples
        --------
        >>> import numpy as np
        >>> from sk_dim import DeepInfomaxTransformer
        >>> X = np.random.default_rng(0).normal(size=(50, 4))
        >>> dim = DeepInfomaxTransformer(max_iter=1, random_state=0).fit(X)
        >>> add = dim.batch_function("sample")
        >>> batch = add({"name": ["a", "b"], "sample": X[:2]})
        >>> batch["features"].shape
        (2, 1024)
        """
        check_is_fitted(self)
        names = getattr(self, "feature_names_in_", None)
        return BatchFunction(
            self._encode_batch, self._n_features_out, column, output, names
        )

    def features(self, X: ArrayLike) -> dict[str, np.ndarray]:
        """Compute the features of every layer, in one pass.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Samples of the shape that `fit` saw, or flattened rows of them. For the
            encoder "series", the length may be another.

        Returns
        -------
        dict of ndarray of shape (n, ...), float32
            Under "global" (n, n_components) and "local" (n, c, ...), and "hidden" and
            "conv" if the encoder has them. Maps keep their axes.
        """
        rows = self._rows(X)
        return self.model_.encode(rows, Features.layers)

    def local_scores(self, X: ArrayLike) -> np.ndarray:
        """Score each location of a sample with the sample's own global features.

        High scores mark the locations that the global features tell most about.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Samples of the shape that `fit` saw, or flattened rows of them. For the
            encoder "series", the length may be another.

        Returns
        -------
        ndarray of shape (n, n_locations), float32
            Scores of the local critic, the locations in C order.

        Raises
        ------
        ValueError
            If ``local_weight=0``, which trains no local critic.
        """
        rows = self._rows(X)
        objective = self._objective()
        return self.model_.encode(
            rows, lambda features: {"scores": objective.local_scores(features)}
        )["scores"]

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Bound the mutual information of local and global features.

        The infoNCE bound of the local term with 256 candidates, in evaluation mode and
        without views, whatever `bound` and `batch_size` were: comparable between fits,
        larger is better, and **no measure of the quality** of the features. Candidates
        are drawn from all samples, of the same group too.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            At least 2 samples. With fewer than 256 samples, each counts more than once
            as a candidate.
        y : None
            Ignored.

        Returns
        -------
        float
            In nats, at most log 256, about 5.55.

        Raises
        ------
        ValueError
            If ``local_weight=0``, which trains no local critic.
        """
        X, *_ = leave_out_broken(X)
        rows = self._rows(X, n_min=2)
        self._objective()
        return float(self.model_.candidate_bounds(rows, N_CANDIDATES).mean())

    # The way of the rows

    def _encode_batch(self, X: ArrayLike) -> np.ndarray:
        """Compute features as transform does, whatever names columns have."""
        rows = rows_like(self, X, self.model_.fmt, has_names=False)
        return write_layer(self.model_, self._layer, rows)

    def _rows(self, X: ArrayLike, n_min: int = 1) -> Rows:
        """Check X against what fit saw."""
        check_is_fitted(self)
        return rows_like(self, X, self.model_.fmt, n_min)

    def _open(self, X: Any, groups: np.ndarray | None, goes_on: bool) -> Rows:
        """Check all that is given, and build a new model for it unless one goes on."""
        if goes_on:
            return resume(self, X, groups)
        self._forget()
        rows, self.model_ = prepare(self, X, groups)
        return rows

    def _read_checkpoint(self) -> dict[str, Any] | None:
        """Return what is to be gone on with; every process of a group gets the same."""
        if self.checkpoint is None:
            return None
        ranks = ranks_here(count_devices(self.n_devices, self.device))
        path, with_state = self.checkpoint, self.warm_start
        return ranks.of_first(lambda: read(path, with_state=with_state))

    def _open_checkpoint(
        self, rows: Rows, groups: np.ndarray | None, saved: dict[str, Any] | None
    ) -> tuple[Checkpoint | None, Position | None]:
        """Make what writes checkpoints, and let the model take up what was saved."""
        if self.checkpoint is None:
            return None, None
        n = count_devices(self.n_devices, self.device)
        checkpoint = Checkpoint(self, self.model_, rows, groups, n)
        ranks_here(n).of_first(checkpoint.check_room)
        return checkpoint, None if saved is None else checkpoint.restore(saved)

    def _train(
        self,
        rows: Rows,
        n_epochs: int | None,
        *,
        tasks: list[EpochTasks],
        max_time: float | None,
        is_annealed: bool,
        keeps_moments: bool,
        groups: np.ndarray | None,
        checkpoint: Checkpoint | None = None,
        position: Position | None = None,
    ) -> None:
        callbacks = copy_callbacks(self.callbacks)
        if self.verbose:
            callbacks.append(EpochReport(n_epochs, max_time))
        # Last, so that what callbacks do at the end of an epoch is in the file.
        last = [] if checkpoint is None else [checkpoint]
        is_interrupted = launch.train(
            self.model_,
            rows,
            n_epochs,
            callbacks,
            tasks=[*tasks, *last],
            n_devices=count_devices(self.n_devices, self.device),
            batch_size=batch_size_of(self, self.model_, len(rows)),
            learning_rate=self.learning_rate,
            validation_fraction=self.validation_fraction,
            max_time=max_time,
            is_annealed=is_annealed,
            keeps_moments=keeps_moments,
            groups=groups,
            position=position,
        )
        if checkpoint is not None and not is_interrupted:
            checkpoint.finish()

    def _forget(self) -> None:
        """Delete what a fit learnt."""
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)

    @contextmanager
    def _unchanged_if_it_fails(self, goes_on: bool) -> Iterator[None]:
        """Leave the estimator as it was if a fit is refused or breaks off."""
        before = {name: value for name, value in vars(self).items() if name[-1] == "_"}
        if goes_on:
            before["model_"] = self.model_.copy()  # training changes the net itself
        try:
            yield
        except BaseException:
            self._forget()
            self.__dict__.update(before)
            raise

    def _objective(self) -> Objective:
        """Return the objective, which must have a local critic."""
        if "local" not in self.model_.objective.critics:
            raise ValueError(
                "local_weight=0 trained no local critic, so there are no local scores; "
                "fit with a positive local_weight."
            )
        return self.model_.objective

    @property
    def _layer(self) -> str:
        return check_layer(self.output_layer, self.model_.net.layer_shapes)

    @property
    def _n_features_out(self) -> int:
        return int(np.prod(self.model_.net.layer_shapes[self._layer]))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def __setstate__(self, state: dict[str, Any]) -> None:
        parameters = inspect.signature(type(self).__init__).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        lacking = [name for name in defaults if name not in state]
        if lacking:
            warn(
                f"this estimator was saved without {', '.join(lacking)}, by another "
                "version of sk_dim; the defaults of this version are taken."
            )
        super().__setstate__({name: defaults[name] for name in lacking} | state)
