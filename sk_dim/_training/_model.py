"""Model: what an estimator of Deep InfoMax learns, in one object."""

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from sk_dim._devices import available_device, check_fork, seeded
from sk_dim._inputs._batches import SliceLoader, Source, rows_that_fit
from sk_dim._inputs._broken import warn_of_nan
from sk_dim._inputs._formats import InputFormat
from sk_dim._inputs._outputs import Output
from sk_dim._inputs._rows import Rows
from sk_dim._inputs._scaling import Scaling
from sk_dim._inputs._sources import StreamedRows, stream, to_device
from sk_dim._threads import ThreadWatch
from sk_dim._training._design import Design, check_augment
from sk_dim._training._net import InfomaxNet
from sk_dim._training._optimizers import forget_moments
from sk_dim._training._progress import Position, check_last, records
from sk_dim._training._saving import (
    checksum,
    copy_net,
    load_objective,
    pack_progress,
    to_arrays,
    to_tensors,
    unpack_progress,
)
from sk_dim._training._views import ViewedRows
from sk_dim._validation import warn
from sk_dim._version import __version__
from sk_dim.encoders._contract import Encoder, Features, FixedViews, trait
from sk_dim.objective import Objective

ENCODED_AT_ONCE = 512  # samples, fewer where they are large
FEW_STEPS = 3  # of a training that time ends, below which it is warned


class Model:
    """Format, scaling, encoder and objective, with the net that trains them.

    It is copied and pickled by what it consists of, not as a net.

    Parameters
    ----------
    design : Design
        The parts that the net was built of.
    scaling : Scaling
        Of the samples that it learns from.
    net : InfomaxNet
        Built by the design.

    Attributes
    ----------
    history : list of dict
        One dict for each epoch of all trainings.
    keeps_moments : bool
        Whether a training may go on as if it had not stopped.
    viewed : FixedViews or None
        Of the first training, where the encoder knows them before it.
    """

    def __init__(self, design: Design, scaling: Scaling, net: InfomaxNet) -> None:
        self.design = design
        self.scaling = scaling
        self.net = net
        self.history: list[dict[str, float]] = []
        self.keeps_moments = False
        self.viewed: FixedViews | None = None

    @classmethod
    def build(
        cls, design: Design, rows: Rows, device: torch.device, precision: str, seed: int
    ) -> Self:
        """Build an untrained model that suits the rows, and try its parts."""
        scaling = Scaling.learn(rows, device)
        if design.augment is not None:
            check_augment(design.augment, scaling(rows.take(slice(0, 8))), seed)
        net = design.build(device, precision, seed)
        model = cls(design, scaling, net)
        trait(net.module_, "learn_scaling")(scaling.mean, scaling.std)
        learn_first = trait(net.module_, "learn_first")
        if getattr(learn_first, "__func__", None) is not Encoder.learn_first:
            numbers, samples = rows.draw(seed, trait(net.module_, "n_first"))
            with seeded(seed, device):  # a view of the user may draw
                viewed = learn_first(scaling(samples), seed, design.view)
            if trait(net.module_, "has_fixed_part") and viewed is not None:
                model.viewed = viewed._replace(rows=numbers[viewed.rows.cpu()])
        return model

    @property
    def fmt(self) -> InputFormat:
        """What a sample is."""
        return self.design.fmt

    @property
    def encoder(self) -> nn.Module:
        """Scaled batch to Features."""
        return self.net.module_

    @property
    def objective(self) -> Objective:
        """Critics, prior and weights."""
        return self.net.criterion_

    @property
    def device(self) -> torch.device:
        """Where the net is."""
        return self.scaling.device

    def source(self, rows: Rows, groups: np.ndarray | None = None) -> Source:
        """Return the samples scaled, on the device where they fit.

        Parameters
        ----------
        rows : Rows
            Samples.
        groups : ndarray of int, of shape (n,), or None, default=None
            Codes of groups, whose samples are no negatives of one another.

        Raises
        ------
        ValueError
            If a critic of the user cannot leave them out.
        """
        self._check_groups(rows, groups)
        return to_device(rows, self.scaling, groups)

    # Training

    def train(
        self,
        rows: Rows,
        n_epochs: int | None,
        callbacks: list,
        *,
        batch_size: int,
        learning_rate: float,
        validation_fraction: float,
        max_time: float | None,
        is_annealed: bool,
        keeps_moments: bool,
        groups: np.ndarray | None = None,
        position: Position | None = None,
    ) -> bool:
        """Train on, and warn where that was not to its end or next to nothing.

        Parameters
        ----------
        rows : Rows
            To train on.
        n_epochs : int or None
            Of this training; None where only time limits it.
        callbacks : list of skorch.callbacks.Callback
            Told of epochs and batches.
        batch_size, learning_rate, validation_fraction, max_time
            Of the estimator.
        is_annealed : bool
            Whether the learning rate rises and falls, or is constant.
        keeps_moments : bool
            Whether optimisers keep what only a training that goes on needs.
        groups : ndarray of int, of shape (n,), or None, default=None
            Codes of groups, whose samples are no negatives of one another.
        position : Position or None, default=None
            From where a training goes on that was killed; None begins one.

        Returns
        -------
        bool
            Whether Ctrl-C ended it.
        """
        net = self.net
        position = position or Position.begin(net, self.history)
        position.move(self.device)
        self.keeps_moments = keeps_moments
        if trait(self.encoder, "has_fixed_part"):
            source: Source = self._view(rows, groups, net.seed + position.n_steps)
        else:
            source = self.source(rows, groups)
        net.configure(
            source,
            n_epochs,
            batch_size=batch_size,
            validation_fraction=validation_fraction,
            learning_rate=learning_rate,
            seconds=max_time,
            is_annealed=is_annealed,
            first_step=position.n_steps,
        )
        try:
            is_interrupted = net.train(source, n_epochs, callbacks, position)
        finally:
            net.has_fixed_views, net.part = False, None
        self._learn_last(rows)
        self._check_features(rows)
        rows_of_history = net.history[position.n_records :]
        first = len(position.history) + 1
        new = records(rows_of_history, first, self.design.tasks or ())
        self.history = position.history + new
        n_steps = net.n_steps - position.n_steps
        if not keeps_moments:
            forget_moments(*net.optimizers)
        if is_interrupted:
            of = f" of {n_epochs}" if n_epochs else ""
            warn(
                f"Ctrl-C ended the training after {len(new)}{of} epochs and {n_steps} "
                "steps; the model of the last step is kept and can be used. Press "
                "Ctrl-C twice within two seconds to end everything."
            )
        elif net.schedule.is_out_of_time and n_steps < FEW_STEPS:
            warn(
                f"max_time={max_time} s was over after {n_steps} steps of training, "
                "which teach next to nothing; allow more time, or choose a smaller "
                "encoder or batch_size."
            )
        return is_interrupted

    def _learn_last(self, rows: Rows) -> None:
        """Let an encoder choose weights after training, if it has any to choose."""
        encoder, seed = self.encoder, self.net.seed
        learn_last = trait(encoder, "learn_last")
        is_none = getattr(learn_last, "__func__", None) is Encoder.learn_last
        if is_none or trait(encoder, "has_fixed_part"):  # of which nothing was trained
            return
        _, samples = rows.draw(seed, trait(encoder, "n_first"))
        encoder.eval()
        with seeded(seed, self.device):  # a view of the user may draw
            learn_last(self.scaling(samples), seed, self.design.view)

    def _view(self, rows: Rows, groups: np.ndarray | None, seed: int) -> ViewedRows:
        """Return the encoded views of some samples, which a training is of."""
        self._check_groups(rows, groups)
        encoder, viewed = cast(Encoder, self.encoder), self.viewed
        self.viewed = None
        if viewed is None:
            numbers, samples = rows.draw(seed, trait(encoder, "n_first"))
            with seeded(seed, self.device):
                viewed = encoder.eval().view_fixed(
                    self.scaling(samples), seed, self.design.view
                )
            viewed = viewed._replace(rows=numbers[viewed.rows.cpu()])
        codes = None if groups is None else torch.from_numpy(groups)[viewed.rows]
        return ViewedRows(viewed.values, codes)

    def _check_groups(self, rows: Rows, groups: np.ndarray | None) -> None:
        """Raise a ValueError if a critic of the user cannot leave groups out."""
        if groups is not None:
            with seeded(0, self.device):  # a part of the user may draw
                self.objective.check_groups(self._encode_few(rows))

    def _encode_few(self, rows: Rows) -> Features:
        """Features of the first rows, in evaluation mode."""
        with torch.inference_mode():
            # Its forward, because a call would compile it for so few rows.
            batch = self.scaling(rows.take(slice(0, 8)))
            return Features(*self.encoder.eval().forward(batch))

    def _check_features(self, rows: Rows) -> None:
        """Raise a ValueError if the last step made features that are not finite."""
        features = self._encode_few(rows).layers().values()
        check_last(self.net.history, self.net.schedule.peak, features=features)

    # Use

    def encode(
        self,
        rows: Rows,
        compute: Callable[[Features], dict[str, Tensor]],
        output: Output | None = None,
    ) -> dict[str, np.ndarray]:
        """Join what is computed of the features of every batch, by its names.

        With an output it is written there, and not joined. Of rows that cannot be read
        it is NaN.
        """
        # Tensors, because torch copies with all threads and numpy with one.
        joined: dict[str, Tensor] = {}
        start = 0
        with torch.inference_mode(), ThreadWatch(self.device) as threads:
            for batch in self._batches(rows, ENCODED_AT_ONCE):
                threads.look()
                part = slice(start, start + len(batch))
                start += len(batch)
                for name, values in compute(self.net.evaluation_step(batch)).items():
                    if output is not None:
                        output.write(values.cpu().numpy())
                        continue
                    if name not in joined:
                        joined[name] = torch.empty(len(rows), *values.shape[1:])
                    joined[name][part] = values
        broken = rows.find_broken()
        warn_of_nan(broken, len(rows))
        if broken and output is not None:
            output.erase(broken)
        found = {name: values.numpy() for name, values in joined.items()}
        for array in found.values():
            array[list(broken)] = math.nan
        return found

    def encode_views(self, rows: Rows, seed: int) -> list[np.ndarray]:
        """Global features of two views of each sample, or of itself where there is one.

        Views are made as in training, and encoded in evaluation mode.
        """
        net = self.net
        generator = torch.Generator(self.device).manual_seed(seed)
        net.module_.eval()
        with torch.inference_mode():
            batches = [
                [
                    view.global_.cpu().numpy()
                    for view in net.make_views(batch, generator)
                ]
                for batch in self._batches(rows, net.batch_size)
            ]
        return [np.concatenate(views) for views in zip(*batches, strict=True)]

    def candidate_bounds(self, rows: Rows, n_candidates: int) -> np.ndarray:
        """Bound the local term of each sample among `n_candidates`, in nats, (n,)."""
        # Shuffled, so that sorted rows have other candidates than their neighbours.
        source = stream(rows, self.scaling.checked)
        loader = SliceLoader(source, n_candidates, torch.Generator().manual_seed(0))
        with torch.inference_mode():
            bounds = [
                self.objective.candidate_bound(self._encode_all(batch), n_candidates)
                for batch in loader
            ]
        return torch.cat(bounds).double().cpu().numpy()

    def _encode_all(self, batch: Tensor) -> Features:
        """Features of a scaled batch of any size, encoded in parts of large samples."""
        n_at_once = rows_that_fit(batch[0].numel(), len(batch))
        parts = [self.net.evaluation_step(part) for part in batch.split(n_at_once)]
        if len(parts) == 1:
            return parts[0]
        return Features._make(
            None if layer[0] is None else torch.cat(layer)
            for layer in zip(*parts, strict=True)
        )

    def _batches(self, rows: Rows, n_most: int) -> Iterable[Tensor]:
        """Return scaled batches of the rows in their order, smaller of large samples.

        Raises
        ------
        ValueError
            From its iterator, at a value too large to be encoded.
        """
        check_fork()
        n_at_once = rows_that_fit(rows.n_values, n_most)
        if not rows.is_streamed:
            return SliceLoader(StreamedRows(rows, self.scaling.checked), n_at_once)
        # No chunk is read twice.
        return (
            self.scaling.checked(part)
            for block in rows.blocks()
            for part in block.split(n_at_once)
        )

    # Copies, in memory and in files

    def copy(self) -> Self:
        """Return a model of the same state that goes its own way."""
        return self._with(self.design, copy_net(self.net))

    def __deepcopy__(self, memo: dict) -> Self:
        # The parts are those of the estimator, which the memo holds copies of.
        net = copy_net(self.net, memo)
        mode = getattr(net.module_, "compile_mode", None)
        if mode is not None:
            net.module_.compile(mode=mode)  # which no copy of a module keeps
        return self._with(copy.deepcopy(self.design, memo), net)

    def _with(self, design: Design, net: InfomaxNet) -> Self:
        copied = type(self)(design, self.scaling, net)
        copied.history = list(self.history)
        copied.keeps_moments = self.keeps_moments
        return copied

    def __getstate__(self) -> dict[str, Any]:
        """All that the model knows, its tensors as numpy arrays.

        Critics are kept for scores; optimisers and adversary only where the training
        may go on as if it had not stopped.
        """
        net = self.net
        objective = net.criterion_.state_dict()
        if net.criterion_.has_adversary and not self.keeps_moments:
            objective = {
                k: v for k, v in objective.items() if not k.startswith("prior.")
            }
        arrays = {
            "encoder": to_arrays(net.module_.state_dict()),
            "objective": to_arrays(objective),
            "scaling": {
                "mean": self.scaling.mean.numpy(),
                "std": self.scaling.std.numpy(),
            },
        }
        progress = pack_progress(net, with_moments=self.keeps_moments)
        return {
            "version": __version__,
            "design": self.design,
            "history": self.history,
            "keeps_moments": self.keeps_moments,
            "device": str(self.device),
            "precision": net.precision,
            "seed": net.seed,
            "arrays": arrays,
            "progress": progress,
            "checksum": checksum(arrays, progress),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Build the net again, on another device if need be.

        Raises
        ------
        ValueError
            If arrays are not those that were saved.
        """
        if state.get("version") != __version__:
            warn(
                f"this estimator was saved by sk_dim {state.get('version')} and is "
                f"loaded by {__version__}, whose features of the same samples may "
                "differ."
            )
        arrays = state["arrays"]
        if state["checksum"] != checksum(arrays, state["progress"]):
            raise ValueError(
                "the saved estimator is damaged: its weights are not those that were "
                "saved; load another copy of the file, or fit anew."
            )
        device = torch.device(state["device"])
        if device.type != "cpu":
            device = available_device(device)
        mean, std = (torch.tensor(arrays["scaling"][k]) for k in ("mean", "std"))
        design = state["design"]
        net = design.build(device, state["precision"], state["seed"])
        net.module_.load_state_dict(to_tensors(arrays["encoder"]))
        load_objective(net.criterion_, to_tensors(arrays["objective"]))
        unpack_progress(net, state["progress"])
        self.design, self.net = design, net
        self.scaling = Scaling(mean, std, device)
        self.history, self.keeps_moments = state["history"], state["keeps_moments"]
        self.viewed = None
