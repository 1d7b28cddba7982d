"""Deep InfoMax as a scikit-learn transformer."""

from sk_dim._deep_infomax import DeepInfomaxTransformer

__version__ = "0.1.0"
__all__ = ["DeepInfomaxTransformer"]
