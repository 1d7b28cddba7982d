"""How a classifier is fine-tuned, from its parameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from sk_dim._validation import check_integer, check_real


@dataclass(frozen=True)
class Recipe:
    """How to fine-tune; the names are those of DeepInfomaxClassifier's parameters."""

    n_steps: int | None
    max_time: float | None
    batch_size: int
    learning_rate: float
    rate_decay: float
    infomax_weight: float
    unlabelled_weight: float
    temperature: float
    patience: int

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Self:
        """Check the parameters of a classifier, and take those of the fine-tuning."""

        def real(name: str, exclusive: bool = True) -> float:
            return check_real(name, params[name], exclusive=exclusive)

        n_steps = check_integer("n_steps", params["n_steps"], 1)
        max_time = None if params["max_time"] is None else real("max_time")
        return cls(
            n_steps=n_steps if max_time is None else None,
            max_time=max_time,
            batch_size=check_integer("batch_size", params["batch_size"], 2),
            learning_rate=real("learning_rate"),
            rate_decay=real("rate_decay"),
            infomax_weight=real("infomax_weight", exclusive=False),
            unlabelled_weight=real("unlabelled_weight", exclusive=False),
            temperature=real("temperature"),
            patience=check_integer("patience", params["patience"], 1),
        )
