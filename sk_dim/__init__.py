"""Deep InfoMax as a scikit-learn transformer."""

from sk_dim._classifier import DeepInfomaxClassifier
from sk_dim._conditional_information import conditional_mutual_information
from sk_dim._deep_infomax import DeepInfomaxTransformer
from sk_dim._files import save
from sk_dim._images._array import ImageArray
from sk_dim._images._loader import ImageLoader
from sk_dim._images._sources import list_images
from sk_dim._mutual_information import (
    MutualInformationEstimator,
    mutual_information,
)
from sk_dim._pairwise_information import (
    PairwiseMutualInformation,
    column_information,
)
from sk_dim._version import __version__ as __version__

__all__ = [
    "DeepInfomaxClassifier",
    "DeepInfomaxTransformer",
    "ImageArray",
    "ImageLoader",
    "MutualInformationEstimator",
    "PairwiseMutualInformation",
    "column_information",
    "conditional_mutual_information",
    "list_images",
    "mutual_information",
    "save",
]
