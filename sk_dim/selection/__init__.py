"""What to look at first: rows to label, near duplicates, strange rows.

All three take features, such as those that `transform` returns, and compare rows by
Euclidean distance. A shift, a rotation or another unit of the features changes nothing.
Scale columns of different units before.
"""

from sk_dim.selection._duplicates import near_duplicates
from sk_dim.selection._outliers import outliers
from sk_dim.selection._suggestions import suggest_labels

__all__ = ["near_duplicates", "outliers", "suggest_labels"]
