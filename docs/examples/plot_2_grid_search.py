"""
Grid search
===========

Parameters of the transformer are searched like any others. Some need no new fit: the
layer that it returns is read when `transform` is called.
"""

import pandas as pd
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from sk_dim import DeepInfomaxTransformer

images, y = load_digits().images, load_digits().target
dim = DeepInfomaxTransformer(max_iter=10, random_state=0).fit(images)

# %%
# One fit, several layers: each is a frozen transformer of its own, which share nothing
# but their weights.

import copy

layers = [
    FrozenEstimator(copy.deepcopy(dim).set_params(output_layer=layer))
    for layer in ("global", "hidden", "conv")
]
pipeline = Pipeline(
    [("features", layers[0]), ("model", LogisticRegression(max_iter=500))]
)
search = GridSearchCV(
    pipeline, {"features": layers, "model__C": [0.001, 0.01, 0.1]}, cv=3
)
search.fit(images[:300], y[:300])

# %%
# Layers by strength of regularisation:

results = pd.DataFrame(search.cv_results_)
results["layer"] = [each.estimator.output_layer for each in results["param_features"]]
results.pivot(index="layer", columns="param_model__C", values="mean_test_score").round(
    3
)

# %%
# Parameters of the training itself are fitted anew for each candidate and fold; a short
# training is enough to compare.

pipeline = Pipeline(
    [
        ("features", DeepInfomaxTransformer(max_iter=2, random_state=0)),
        ("model", LogisticRegression(max_iter=500)),
    ]
)
views = GridSearchCV(pipeline, {"features__augment": ["auto", "flip", None]}, cv=2)
views.fit(images[:600], y[:600])
pd.DataFrame(
    {
        "augment": [str(p["features__augment"]) for p in views.cv_results_["params"]],
        "accuracy": views.cv_results_["mean_test_score"].round(3),
    }
)
