"""The step of the net: views, terms, gradients, optimisers."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, Self, cast

import torch
from skorch import NeuralNet
from torch import Tensor

from sk_dim._devices import exact_float32, reduced_precision
from sk_dim._inputs._batches import SliceLoader, Source
from sk_dim._training._captured import StepGraphs
from sk_dim._training._optimizers import build_optimizers, main_parameters, set_rates
from sk_dim._training._ranks import Alone, Ranks
from sk_dim._training._schedule import Schedule
from sk_dim._training._views import draw_views, encode_views
from sk_dim.encoders._contract import Encoder, Features, trait
from sk_dim.objective import Objective


class InfomaxSteps(NeuralNet):
    """Trains an encoder (the module) and its objective (the criterion) by steps.

    Parameters
    ----------
    module : nn.Module
        Encoder: scaled batch to Features.
    criterion : Objective
        Views to terms.
    augment : callable or None
        Makes each of the two views; None trains on one.
    hide : callable or None
        Hides a part of each view from the global path; None hides nothing.
    precision : {"float32", "bfloat16"}
        Of the forward pass in training.
    seed : int
        Of all that is drawn in training.
    has_own_parts, has_own_views : bool
        Whether a part is the user's own, which may draw from global generators, or the
        augmentation, which may draw once for a whole batch.
    layer_shapes : dict of tuple of int
        Shape of a sample's features by the names of the layers.
    **kwargs
        Of skorch's NeuralNet.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        criterion: Objective,
        *,
        augment: Callable[[Tensor, torch.Generator], Tensor] | None,
        hide: Callable[[Tensor, torch.Generator], Tensor] | None,
        precision: str,
        seed: int,
        has_own_parts: bool,
        has_own_views: bool,
        layer_shapes: dict[str, tuple[int, ...]],
        **kwargs: Any,
    ) -> None:
        super().__init__(module, criterion, **kwargs)
        self.augment = augment
        self.hide = hide
        self.precision = precision
        self.seed = seed
        self.schedule = Schedule(self.lr)
        self.n_steps = 0
        self.has_own_parts = has_own_parts
        self.has_own_views = has_own_views
        self.layer_shapes = layer_shapes
        self.has_fixed_views = False
        self.shuffler = torch.Generator().manual_seed(seed)
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.ranks: Alone | Ranks = Alone()
        self.graphs: StepGraphs | None = None

    # The parts

    def get_default_callbacks(self) -> list:
        """No callbacks but those given: losses are recorded by the epoch here."""
        return []

    def initialize_optimizer(self, *args: Any, **kwargs: Any) -> Self:
        """Leave it to the first use: to build one, torch imports for seconds."""
        self.__dict__.pop("optimizers", None)
        return self

    @cached_property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """The optimiser of encoder and critics, and the adversary's own, if any."""
        return build_optimizers(
            self.module_,
            self.criterion_,
            self.lr,
            device=self.device,
        )

    @property
    def optimizer_(self) -> torch.optim.Optimizer:
        """Where skorch has it."""
        return self.optimizers[0]

    def get_dataset(self, X: Source, y: Any = None) -> Source:
        """Rows are a data set as they are."""
        return X

    def get_iterator(self, dataset: Source, training: bool = False) -> SliceLoader:
        """Slice whole batches, shuffled for training."""
        shuffler = self.shuffler if training else None
        return self.ranks.loader(dataset, self.batch_size, shuffler)

    # The step

    def agree(self) -> None:
        """Raise a KeyboardInterrupt where the training is to end before this step."""

    def make_views(self, batch: Tensor, generator: torch.Generator) -> list[Features]:
        """Features of the two views of a scaled batch, or of the batch itself.

        Views that were encoded already, (n, views, values), are those of the batch.
        """
        if self.has_fixed_views:
            finish = cast(Encoder, self.module_).finish
            return encode_views(finish, list(batch.unbind(1)))
        drawn = self.draw_views(batch, generator)
        if self.hide is None:
            return self.encode_views(drawn)
        hidden = [self.hide(view, generator) for view in drawn]
        encoded = self.encode_views([*drawn, *hidden])
        return [
            of_hidden._replace(conv=whole.conv, local=whole.local)
            for whole, of_hidden in zip(
                encoded[: len(drawn)], encoded[len(drawn) :], strict=True
            )
        ]

    def draw_views(
        self, batch: Tensor, generator: torch.Generator, *, is_shrunk: bool = True
    ) -> list[Tensor]:
        """Two augmented versions of a scaled batch, or the batch itself.

        Those of images are shrunk if the encoder says.
        """
        scale = trait(self.module_, "view_scale") if is_shrunk else None
        is_own = self.has_own_views
        return draw_views(self.augment, batch, generator, is_own=is_own, scale=scale)

    def encode_views(self, views: list[Tensor]) -> list[Features]:
        """Features of scaled views of the same samples."""
        return encode_views(self.module_, views)

    def _evaluate_terms(
        self,
        batch: Tensor,
        generator: torch.Generator,
        view_generator: torch.Generator,
        groups: Tensor | None,
    ) -> dict[str, Any]:
        ranks = None if self.ranks.size == 1 else self.ranks
        if groups is not None:
            groups = groups.to(self.device)
        with reduced_precision(self.device, self.precision):
            self._reseed(self.ranks.rank)
            views = self.make_views(batch, view_generator)
            self._reseed(self.ranks.size)  # a gathered batch has the same terms on all
            terms = self.criterion_(views, generator, groups, ranks)
        loss = self.criterion_.loss(terms)
        return {"loss": loss, "y_pred": views, "terms": terms}

    def _reseed(self, number: int) -> None:
        """Let parts of the user draw by step and number, where there are ranks."""
        if self.has_own_parts:
            self.ranks.reseed(self.device, self.seed, self.n_steps, number)

    def train_step_single(
        self, batch: Tensor, groups: Tensor | None = None, **_: Any
    ) -> dict[str, Any]:
        """Forward and backward."""
        own = self.ranks.own_generator(self.generator, self.seed, self.n_steps)
        step = self._evaluate_terms(batch, self.generator, own, groups)
        step["loss"].backward()
        parts = self.optimizer_.param_groups
        self.ranks.average(each for part in parts for each in part["params"])
        return step

    def train_step(
        self, batch: Tensor, groups: Tensor | None = None, **_: Any
    ) -> dict[str, Any]:
        """Step the encoder and the critics, then the adversary on detached codes."""
        self.agree()
        set_rates(self.optimizer_, self.schedule.rate(self.n_steps))
        if not (self.module_.training and self.criterion_.training):
            self._set_training(True)  # once an epoch: it walks through all modules
        if self.graphs is not None and groups is None:
            step = self.graphs(batch)
        else:
            step = self.compute_step(batch, groups)
        self.n_steps += 1
        return step

    def compute_step(
        self, batch: Tensor, groups: Tensor | None = None
    ) -> dict[str, Any]:
        """Do what the device has to do in a step, float32 in full and not in TF32."""
        with exact_float32(self.device):
            return self._compute_step(batch, groups)

    def _compute_step(self, batch: Tensor, groups: Tensor | None) -> dict[str, Any]:
        self.optimizer_.zero_grad(set_to_none=True)
        step = self.train_step_single(batch, groups)
        self.notify(
            "on_grad_computed",
            named_parameters=main_parameters(
                self.get_all_learnable_params(), self.criterion_
            ),
            batch=batch,
            training=True,
        )
        self.optimizer_.step()
        if self.criterion_.has_adversary:
            adversary_optimizer = self.optimizers[1]
            adversary_optimizer.zero_grad(set_to_none=True)
            own = [view.code.detach() for view in step["y_pred"]]
            codes = torch.cat(self.ranks.gather(own))
            prior = self.criterion_.prior
            prior.discriminator_loss(codes, self.generator).backward()
            self.ranks.average(prior.parameters())
            adversary_optimizer.step()
        return step

    def validation_step(
        self, batch: Tensor, groups: Tensor | None = None, **_: Any
    ) -> dict[str, Any]:
        """Forward on held-out rows, with the same views in every epoch."""
        self._set_training(False)
        generator = torch.Generator(self.device).manual_seed(self.seed)
        own = self.ranks.own_generator(generator, self.seed)
        with torch.no_grad():
            return self._evaluate_terms(batch, generator, own, groups)

    def evaluation_step(self, batch: Tensor, training: bool = False) -> Features:
        """Features of a scaled batch, in float32 and evaluation mode."""
        self._set_training(training)
        with torch.inference_mode(), exact_float32(self.device):
            return Features(*self.module_(batch))
