"""
Grid search
===========

Which layer, which regularisation and which views are best for your labels?
``GridSearchCV`` searches parameters of the transformer like any others. The layer that
``transform`` returns needs no new fit; parameters of the training do.
"""

import copy

import matplotlib.pyplot as plt
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
# One fit gives three candidates: copies of the fitted transformer, each frozen and set
# to return another layer.

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
# Accuracy by layer and strength of regularisation:

results = pd.DataFrame(search.cv_results_)
results["layer"] = [each.estimator.output_layer for each in results["param_features"]]
table = results.pivot(
    index="layer", columns="param_model__C", values="mean_test_score"
).round(3)
table

# %%
# Views are a parameter of the training, so the transformer is fitted for each candidate
# and fold. A short training is enough to compare them.

pipeline = Pipeline(
    [
        ("features", DeepInfomaxTransformer(max_iter=2, random_state=0)),
        ("model", LogisticRegression(max_iter=500)),
    ]
)
views = GridSearchCV(pipeline, {"features__augment": ["auto", "flip", None]}, cv=2)
views.fit(images[:600], y[:600])

# %%
# Both searches in one picture. The bars are standard deviations over the folds.

fig, (left, right) = plt.subplots(ncols=2, figsize=(8, 3.4), layout="constrained")
for layer, rows in results.groupby("layer"):
    left.errorbar(
        rows["param_model__C"].astype(float),
        rows["mean_test_score"],
        rows["std_test_score"],
        marker="o",
        capsize=3,
        label=layer,
    )
left.set(xscale="log", xlabel="C of the logistic regression", ylabel="accuracy")
left.set_ylim(0.85, 1)
left.set_title("layers: one fit, 10 epochs")
left.legend(title="output_layer")
found = views.cv_results_
right.bar(
    [str(params["features__augment"]) for params in found["params"]],
    found["mean_test_score"],
    yerr=found["std_test_score"],
    capsize=3,
)
right.set(xlabel="augment", ylim=(0.5, 1))
right.set_title("views: one fit each, 2 epochs")
plt.show()
