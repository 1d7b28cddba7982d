"""What skops may load of this package."""

from functools import partial
from typing import Any

from sk_dim._classifier import DeepInfomaxClassifier
from sk_dim._deep_infomax import DeepInfomaxTransformer
from sk_dim._inputs._formats import InputFormat
from sk_dim._training._design import Design
from sk_dim._training._model import Model
from sk_dim.augmentations import AUGMENTATIONS, Compose
from sk_dim.bounds import BOUNDS
from sk_dim.critics import CRITICS
from sk_dim.encoders import ENCODERS, BackboneEncoder
from sk_dim.export._encoder_file import EncoderModel
from sk_dim.tasks import TASKS


def _name(part: Any) -> str:
    return f"{part.__module__}.{part.__qualname__}"


_PARTS = (
    DeepInfomaxTransformer,
    DeepInfomaxClassifier,
    Model,
    EncoderModel,
    Design,
    InputFormat,
    Compose,
    partial,
    BackboneEncoder,
    *ENCODERS.values(),
    *CRITICS.values(),
    *BOUNDS.values(),
    *TASKS.values(),
    *AUGMENTATIONS.values(),
)
SKOPS_TRUSTED = sorted({_name(part) for part in _PARTS})
