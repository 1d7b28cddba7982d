"""What is read off the model of an estimator, in the manner of scikit-learn."""

import torch
from sklearn.utils.validation import check_is_fitted

from sk_dim._training._model import Model
from sk_dim._training._net import InfomaxNet


class ModelAttributes:
    """The attributes of an estimator that are those of its `model_`."""

    model_: Model

    @property
    def _fitted(self) -> Model:
        """The model; its absence is told as scikit-learn does, also to hasattr."""
        check_is_fitted(self)
        return self.model_

    @property
    def net_(self) -> InfomaxNet:
        """Net that trained encoder and critics."""
        return self._fitted.net

    @property
    def encoder_(self) -> torch.nn.Module:
        """Trained encoder."""
        return self._fitted.encoder

    @property
    def history_(self) -> list[dict[str, float]]:
        """One dict per epoch."""
        return self._fitted.history

    @property
    def n_iter_(self) -> int:
        """Number of complete epochs."""
        return len(self._fitted.history)

    @property
    def input_shape_(self) -> tuple[int, ...]:
        """Shape of a sample, channels first."""
        return self._fitted.fmt.shape

    @property
    def device_(self) -> torch.device:
        """Device of the net."""
        return self._fitted.device

    @property
    def precision_(self) -> str:
        """Precision that training used."""
        return self._fitted.net.precision

    @property
    def batch_size_(self) -> int:
        """Target batch size of the last training."""
        return self._fitted.net.batch_size
