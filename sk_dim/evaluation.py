"""Judge a representation, whichever model it comes from.

:func:`linear_probe` asks what a simple model finds in each of its layers,
:func:`label_efficiency` how many labels it saves, and :func:`utility` puts that into
one number; :class:`ProbingCallback` looks while a transformer is fitted. Without
labels, :func:`diagnose` sees whether training worked; :func:`effective_rank` counts the
directions that it uses, :func:`neural_dependency_measure` asks what its components tell
of one another, and :func:`encoded_information` what they tell of the samples. More of
the last three is not better: what a representation is worth for your labels, the first
ones say.
"""

from sk_dim._dependence import encoded_information, neural_dependency_measure
from sk_dim._diagnosis import Diagnosis, diagnose
from sk_dim._label_efficiency import LabelEfficiency, label_efficiency
from sk_dim._probes import effective_rank, linear_probe
from sk_dim._probing import ProbingCallback
from sk_dim._utility import Utility, utility

__all__ = [
    "Diagnosis",
    "LabelEfficiency",
    "ProbingCallback",
    "Utility",
    "diagnose",
    "effective_rank",
    "encoded_information",
    "label_efficiency",
    "linear_probe",
    "neural_dependency_measure",
    "utility",
]
