"""MLPEncoder: subsets of the columns of a table."""

import torch
from torch import Tensor, nn

from sk_dim.encoders._contract import Encoder, Features, check_shape

N_SUMMARY = 1024  # of the global features of tables, for the critics


class MLPEncoder(Encoder):
    """Encoder for tables, whose local features are overlapping subsets of the columns.

    The same net encodes the row once per subset, with all other columns set to their
    mean. Its outputs are the local features. A layer on all of them makes the global
    features; critics see a linear map of these.

    Parameters
    ----------
    input_shape : tuple of int
        ``(n_columns,)``.
    n_components : int
        Size of the global features.
    n_hidden : int, default=256
        Units of the shared net.
    n_subsets : int, default=8
        Number of overlapping windows over the columns in their order; each column is in
        two. Tables of fewer columns have as many subsets as columns.

    Notes
    -----
    ``Features.local`` is (n, n_hidden // 2, n_subsets); there are no other layers.

    References
    ----------
    T. Ucar, E. Hajiramezanali, L. Edwards (2021). SubTab: Subsetting Features of
    Tabular Data for Self-Supervised Representation Learning. arXiv:2110.04361.

    Examples
    --------
    >>> import torch
    >>> encoder = MLPEncoder((30,), n_components=16)
    >>> encoder(torch.zeros(2, 30)).local.shape
    torch.Size([2, 128, 8])
    """

    kinds = ("table",)
    is_static = True
    subsets: Tensor

    def __init__(
        self,
        input_shape: tuple[int, ...],
        n_components: int,
        *,
        n_hidden: int = 256,
        n_subsets: int = 8,
    ) -> None:
        super().__init__()
        check_shape(self, input_shape)
        (n_columns,) = input_shape
        n_subsets = min(n_subsets, n_columns)
        self.register_buffer("subsets", _windows(n_columns, n_subsets))
        n_local = n_hidden // 2
        self.shared = nn.Sequential(
            nn.Linear(n_columns, n_hidden, bias=False),
            nn.BatchNorm1d(n_hidden),
            nn.ReLU(),
            nn.Linear(n_hidden, n_local, bias=False),
            nn.BatchNorm1d(n_local),
            nn.ReLU(),
        )
        self.global_ = nn.Sequential(
            nn.Linear(n_local * n_subsets, n_components, bias=False),
            nn.BatchNorm1d(n_components),
            nn.ReLU(),
        )
        self.summary = nn.Linear(n_components, N_SUMMARY)

    def forward(self, batch: Tensor) -> Features:
        """Encode a scaled batch."""
        n, k = batch.shape[0], len(self.subsets)  # len would fix n in an export
        masked = batch.unsqueeze(1) * self.subsets  # (n, k, d)
        local = self.shared(masked.flatten(0, 1)).view(n, k, -1).transpose(1, 2)
        global_ = self.global_(local.flatten(1))
        return Features(global_, None, None, local, self.summary(global_))


def _windows(n_columns: int, n_subsets: int) -> Tensor:
    """Masks (k, d) of k overlapping windows that go round; each column is in two."""
    column = torch.arange(n_columns)
    own = column * n_subsets // n_columns  # which part of the columns each is in
    first = torch.arange(n_subsets).unsqueeze(1)
    return ((own == first) | (own == (first + 1) % n_subsets)).float()
