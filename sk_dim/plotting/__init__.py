"""Pictures of what was learnt, in the manner of scikit-learn's displays.

Each display is made by a class method from an estimator or from results, draws itself
when `plot` is called, and keeps the figure and axes under ``figure_`` and ``ax_`` (or
``axes_``) and what it drew in attributes, for a picture of your own. matplotlib is
needed (``pip install "sk_dim[plot]"``).
"""

from sk_dim.plotting._curves import (
    FeaturesDisplay,
    LabelEfficiencyDisplay,
    TrainingDisplay,
)
from sk_dim.plotting._pictures import (
    LocalScoreDisplay,
    NeighborsDisplay,
    ReconstructionDisplay,
)
from sk_dim.plotting._selection import SelectionDisplay

__all__ = [
    "FeaturesDisplay",
    "LabelEfficiencyDisplay",
    "LocalScoreDisplay",
    "NeighborsDisplay",
    "ReconstructionDisplay",
    "SelectionDisplay",
    "TrainingDisplay",
]

# Terms in a history, by what is counted: of the objective, and of a fine-tuning.
