"""Linear map of trained features: directions in which views differ become small.

Training pulls views of a sample together only as far as its critic sees them. What is
left of their differences lies in few directions, which labels then need not unlearn.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sk_dim.encoders._contract import Augment
from sk_dim.encoders._view_basis import shuffle

N_DIRECTIONS = 256  # twice as many add next to nothing
N_SAMPLES = 1000  # more of them add next to nothing
FLOOR = 1e-3  # share of the differences at which a direction keeps 0.7 of its size
NEGLIGIBLE = 1e-3  # of the largest size of a feature, a spread that tells nothing
STEPS = 32  # of training for each map of N_SAMPLES
AT_ONCE = 250  # samples that are encoded


class ViewShrinkage(nn.Module):
    """Standardise features, and shrink directions in which views of samples differ.

    A direction that holds a share s of the squared differences is multiplied by
    ``sqrt(FLOOR / (s + FLOOR))``, and all others are left. Until it learns, the map
    changes nothing.

    Parameters
    ----------
    n_features : int
        Number of features.
    """

    mean: Tensor
    scale: Tensor
    directions: Tensor
    shares: Tensor
    n_learnt: Tensor
    learnt_at: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        n_directions = min(N_DIRECTIONS, n_features)
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))
        self.register_buffer("directions", torch.zeros(n_directions, n_features))
        self.register_buffer("shares", torch.zeros(n_directions))
        self.register_buffer("n_learnt", torch.zeros((), dtype=torch.int64))
        self.register_buffer("learnt_at", torch.zeros((), dtype=torch.int64))

    def is_due(self, n_samples: int, n_steps: int) -> bool:
        """Say whether to learn from these samples after so many steps of training.

        A stream of small chunks would else spend more on its maps than on training.
        """
        if n_samples >= N_SAMPLES or not self.n_learnt:
            return True
        n_since = n_steps - int(self.learnt_at)
        return n_since * N_SAMPLES >= STEPS * int(self.n_learnt)

    @torch.no_grad()
    def learn(self, features: Tensor, views: Tensor | None, n_steps: int = 0) -> None:
        """Learn from samples; fewer than N_SAMPLES join what earlier ones told.

        Parameters
        ----------
        features : Tensor of shape (n, n_features)
            Of samples.
        views : Tensor of shape (n, n_features) or None
            Of a view of each; None standardises only.
        n_steps : int, default=0
            Steps of training until now.
        """
        n_kept = min(int(self.n_learnt), max(0, N_SAMPLES - len(features)))
        share = len(features) / (len(features) + n_kept)
        self._standardise_by(features, share)
        self.n_learnt.fill_(len(features) + n_kept)
        self.learnt_at.fill_(n_steps)
        if views is None:
            return
        differences = (views - features) * self.scale
        differences -= differences.mean(dim=0)
        size = differences.norm()
        if size > 0:
            differences /= size
        kept = self.directions * self.shares.sqrt()[:, None]
        rows = torch.cat([differences * share**0.5, kept * (1 - share) ** 0.5])
        n_found = min(len(self.directions), *rows.shape)
        # On the CPU, because not every device has what this takes.
        _, sizes, directions = torch.svd_lowrank(rows.cpu(), n_found)
        self.directions.zero_()[:n_found] = directions.T
        self.shares.zero_()[:n_found] = sizes.square()

    def _standardise_by(self, features: Tensor, share: float) -> None:
        """Let samples tell a share of the mean and the spread of each feature."""
        mean, spread = features.mean(dim=0), features.std(dim=0, correction=0)
        self.mean.lerp_(mean, share)
        spread = torch.lerp(1 / self.scale, spread, share)
        tells = spread > NEGLIGIBLE * features.abs().amax(dim=0)
        self.scale.copy_(torch.where(tells, 1 / spread, 1.0))

    def forward(self, features: Tensor) -> Tensor:
        """Map features (n, n_features) to as many."""
        standard = self._standardise(features)
        cut = 1 - (FLOOR / (self.shares + FLOOR)).sqrt()
        return standard - (standard @ self.directions.T * cut) @ self.directions

    def _standardise(self, features: Tensor) -> Tensor:
        return (features - self.mean) * self.scale


@torch.no_grad()
def learn_from_views(
    shrinkage: ViewShrinkage,
    encode: Callable[[Tensor], Tensor],
    batch: Tensor,
    seed: int,
    augment: Augment | None,
    n_steps: int,
) -> None:
    """Learn a map from samples and a view of each, if it is time to.

    Parameters
    ----------
    shrinkage : ViewShrinkage
        The map.
    encode : callable
        Samples to the features that are mapped.
    batch : Tensor of shape (n, ...)
        Samples, scaled.
    seed : int
        Seeds the choice of samples and the views.
    augment : callable or None
        Makes views; with None the features are standardised only.
    n_steps : int
        Steps of training until now.
    """
    if not shrinkage.is_due(len(batch), n_steps):
        return
    order, generator = shuffle(batch, seed)
    parts = batch[order[:N_SAMPLES]].split(AT_ONCE)
    features = torch.cat([encode(part) for part in parts])
    views = None
    if augment is not None:
        views = torch.cat([encode(augment(part, generator)) for part in parts])
    shrinkage.learn(features, views, n_steps)
