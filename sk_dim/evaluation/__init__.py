"""Judge a representation, whichever model it comes from.

:func:`linear_probe` scores a simple model on each of its layers,
:func:`label_efficiency` measures how many labels it saves, and :func:`utility` puts
that into one number; :class:`ProbingCallback` probes while a transformer is fitted.

Without labels, :func:`diagnose` tells whether training worked, :func:`effective_rank`
counts the directions that the features use, :func:`neural_dependency_measure` how much
the components tell about one another, and :func:`encoded_information` how much they
tell about the samples; :func:`reconstruct` shows what a decoder makes of them. More of
the last four is not better: only the functions that use labels measure what a
representation is worth.
"""

from sk_dim.evaluation._callback import ProbingCallback
from sk_dim.evaluation._dependence import encoded_information, neural_dependency_measure
from sk_dim.evaluation._diagnosis import Diagnosis, diagnose
from sk_dim.evaluation._label_efficiency import LabelEfficiency, label_efficiency
from sk_dim.evaluation._probes import effective_rank, linear_probe
from sk_dim.evaluation._reconstruction import Reconstruction, reconstruct
from sk_dim.evaluation._similarity import ms_ssim
from sk_dim.evaluation._utility import Utility, utility

__all__ = [
    "Diagnosis",
    "LabelEfficiency",
    "ProbingCallback",
    "Reconstruction",
    "Utility",
    "diagnose",
    "effective_rank",
    "encoded_information",
    "label_efficiency",
    "linear_probe",
    "ms_ssim",
    "neural_dependency_measure",
    "reconstruct",
    "utility",
]
