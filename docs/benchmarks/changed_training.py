"""Other ways to train, as changes of the package for as long as a context lasts.

For `attempts.py`, which tells what they gave. None of them is in the package.
"""

from contextlib import contextmanager
from functools import wraps
from unittest.mock import patch

import torch
from torch import nn

from sk_dim import augmentations as views
from sk_dim._contrast import contrast, draw_locations, locations
from sk_dim._training import _step
from sk_dim._training._step import InfomaxSteps
from sk_dim.critics import CosineCritic
from sk_dim.encoders import PatchEncoder
from sk_dim.objective import Objective


class MeanEncoder(PatchEncoder):
    """PatchEncoder whose critics see one mean of each channel."""

    def _pooled(self, maps, *, is_whole):
        pooled = super()._pooled(maps, is_whole=is_whole)
        return [self.norm(maps[-1]).mean(dim=(2, 3)), *pooled[1:]]


class MaximaEncoder(PatchEncoder):
    """PatchEncoder whose critics see the largest value of each channel."""

    def _pooled(self, maps, *, is_whole):
        pooled = super()._pooled(maps, is_whole=is_whole)
        return [self.norm(maps[-1]).amax(dim=(2, 3)), *pooled[1:]]


class Muon(torch.optim.AdamW):
    """AdamW, but matrices of the encoder take steps with equal singular values.

    Jordan et al. (2024), Muon: an optimizer for hidden layers in neural networks.
    """

    def step(self, closure=None):
        """Step the matrices, then let AdamW step the rest."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.ndim < 2 or weight.grad is None or not group["is_matrix"]:
                    continue
                state = self.state[weight]
                mean = state.setdefault("mean", torch.zeros_like(weight))
                mean.lerp_(weight.grad, 0.05)
                update = orthogonal(weight.grad.lerp(mean, 0.95).flatten(1))
                size = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
                with torch.no_grad():
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    weight.sub_(group["lr"] * size * update.view_as(weight))
                weight.grad = None
        return super().step(closure)


def orthogonal(matrix):
    """Bring all singular values near to 1, by five steps of Newton and Schulz."""
    is_tall = len(matrix) > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        product = x @ x.T
        x = 3.4445 * x + (-4.7750 * product + 2.0315 * product @ product) @ x
    return x.T if is_tall else x


@contextmanager
def muon(rate=0.02):
    """Train with Muon, whose rate has this peak."""
    build = _step.build_optimizers

    def changed(encoder, objective, learning_rate, **settings):
        (adam,) = build(encoder, objective, learning_rate, **settings)
        matrices = [p for p in encoder.stages.parameters() if p.ndim > 1]
        known = {id(each) for each in matrices}
        (group,) = adam.param_groups
        rest = [each for each in group["params"] if id(each) not in known]
        groups = [
            {"params": rest, "factor": 1.0, "is_matrix": False},
            {"params": matrices, "factor": rate / learning_rate, "is_matrix": True},
        ]
        return [Muon(groups, lr=learning_rate, weight_decay=1e-2)]

    with patch.object(_step, "build_optimizers", changed):
        yield


@contextmanager
def other_head(n_hidden, n_layers=1):
    """Compare global features of two views behind a larger head."""
    init = CosineCritic.__init__

    @wraps(init)
    def changed(self, n_components, **settings):
        init(self, n_components, **settings | {"n_hidden": n_hidden})
        first, last = self.head[:3], self.head[3:]
        more = [
            layer
            for _ in range(n_layers - 1)
            for layer in (
                nn.Linear(n_hidden, n_hidden, bias=False),
                nn.BatchNorm1d(n_hidden),
                nn.ReLU(),
            )
        ]
        self.head = nn.Sequential(*first, *more, *last)

    with patch.object(CosineCritic, "__init__", changed):
        yield


@contextmanager
def averaged_weights(decay=0.998):
    """End a training with an average of the weights of its steps."""
    step, learn_last = InfomaxSteps._compute_step, PatchEncoder.learn_last
    averages = {}
    n_steps = 0

    def averaging(self, batch, groups):
        nonlocal n_steps
        found = step(self, batch, groups)
        n_steps += 1
        share = 1 - min(decay, (1 + n_steps) / (10 + n_steps))
        for name, value in self.module_.state_dict().items():
            if value.is_floating_point():
                averages.setdefault(name, value.clone()).lerp_(value, share)
        return found

    def with_averages(self, *args):
        self.load_state_dict(averages, strict=False)
        learn_last(self, *args)

    with (
        patch.object(InfomaxSteps, "_compute_step", averaging),
        patch.object(PatchEncoder, "learn_last", with_averages),
    ):
        yield


@contextmanager
def small_views(n_views=2, side=0.5, min_area=0.1):
    """Compare views with small crops too, whose local features count as others do.

    Each crop, from a tenth of the area on, is half as long as the image.
    """
    draw, forward = InfomaxSteps.draw_views, Objective.forward

    def drawn(self, batch, generator, **settings):
        return draw(self, batch, generator, **settings) + [
            views.color(
                views.flip(
                    views.crop(
                        batch, generator, min_area=min_area, max_angle=0.0, scale=side
                    ),
                    generator,
                ),
                generator,
            )
            for _ in range(n_views)
        ]

    encode = InfomaxSteps.encode_views

    def encoded(self, of_batch):
        return encode(self, of_batch[:2]) + encode(self, of_batch[2:])

    def compared(self, of_batch, generator, groups=None, ranks=None):
        if len(of_batch) == 2:
            return forward(self, of_batch, generator, groups, ranks)
        terms = forward(self, of_batch[:2], generator)
        codes = [view.code for view in of_batch]
        whole = self.critics["global"].embed(torch.cat(codes)).chunk(len(codes))
        pairs = [
            contrast(self.critics["global"], self.bound, [one.unsqueeze(2)], [other])
            for large in whole[:2]
            for small in whole[2:]
            for one, other in ((large, small), (small, large))
        ]
        of_small = [locations(view.local) for view in of_batch[2:]]
        critic = self.critics["local"]
        local = [
            contrast(critic, self.bound, [each], [codes[i % 2]])
            for i, each in enumerate(draw_locations(critic, of_small, generator))
        ]
        n_pairs = len(pairs) / 2
        terms["global"] = (terms["global"] + sum(pairs) / 2) / (1 + n_pairs)
        terms["local"] = (2 * terms["local"] + sum(local)) / (2 + len(local))
        return terms

    with (
        patch.object(InfomaxSteps, "draw_views", drawn),
        patch.object(InfomaxSteps, "encode_views", encoded),
        patch.object(Objective, "forward", compared),
    ):
        yield


@contextmanager
def mixed_views():
    """Mix one view of each image with that of another, which it is also to find.

    i-Mix (Lee et al. 2020, arXiv:2010.08887), in the global term.
    """
    draw, forward = InfomaxSteps.draw_views, Objective.forward
    mixture = {}

    def drawn(self, batch, generator, **settings):
        one, other = draw(self, batch, generator, **settings)
        share = torch.rand((), generator=generator).clamp_min(0.5)
        order = torch.randperm(len(one), generator=generator)
        mixture.update(share=share, order=order)
        return [share * one + (1 - share) * one[order], other]

    def compared(self, of_batch, generator, groups=None, ranks=None):
        terms = forward(self, of_batch, generator, groups, ranks)
        if not mixture:
            return terms
        critic = self.critics["global"]
        mixed, plain = critic.embed(torch.cat([v.code for v in of_batch])).chunk(2)
        scores = mixed @ plain.T / critic.temperature
        share, order = mixture["share"], mixture["order"]
        rows = torch.arange(len(order))
        found = []
        for each, partner in ((scores, order), (scores.T, order.argsort())):
            logarithms = each.log_softmax(dim=1)
            own, others = logarithms[rows, rows], logarithms[rows, partner]
            found.append((share * own + (1 - share) * others).mean())
        terms["global"] = sum(found) / 2 + torch.tensor(len(order)).log()
        return terms

    with (
        patch.object(InfomaxSteps, "draw_views", drawn),
        patch.object(Objective, "forward", compared),
    ):
        yield
