"""Generated data whose answer is known.

Images and series whose label is one known factor, with all other factors random. A
linear model on the features then shows which factors a view makes an encoder forget.
Pairs of variables whose mutual information has a closed form show how good estimates
of it are: few columns, wide tables, and images or series that share their class.
"""

from sk_dim.datasets._factors import (
    IMAGE_FACTORS,
    SERIES_FACTORS,
    make_images,
    make_series,
)
from sk_dim.datasets._pairs import (
    WARPS,
    Pairs,
    make_discrete_pairs,
    make_mixed_pairs,
    make_normal_pairs,
    make_student_pairs,
    make_uniform_pairs,
)
from sk_dim.datasets._wide_pairs import make_class_pairs, make_wide_pairs

__all__ = [
    "IMAGE_FACTORS",
    "SERIES_FACTORS",
    "WARPS",
    "Pairs",
    "make_class_pairs",
    "make_discrete_pairs",
    "make_images",
    "make_mixed_pairs",
    "make_normal_pairs",
    "make_series",
    "make_student_pairs",
    "make_uniform_pairs",
    "make_wide_pairs",
]
