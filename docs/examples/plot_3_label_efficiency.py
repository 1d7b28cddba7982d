"""
How many labels does it save?
=============================

Accuracy by the number of labels, several draws of them, and the utility of Newell &
Deng (2020, arXiv:2003.14323): how many labels more the model from scratch would need,
in shares of those given.
"""

from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from sk_dim import DeepInfomaxTransformer
from sk_dim.evaluation import label_efficiency
from sk_dim.plotting import LabelEfficiencyDisplay

images, y = load_digits().images, load_digits().target
train, test, y_train, y_test = images[:1297], images[1297:], y[:1297], y[1297:]
dim = DeepInfomaxTransformer(max_iter=15, random_state=0).fit(train)

results = label_efficiency(
    {"pixels": LogisticRegression(max_iter=500), "Deep InfoMax": dim},
    train.reshape(-1, 64),
    y_train,
    [20, 50, 100, 300],
    X_test=test.reshape(-1, 64),
    y_test=y_test,
    n_draws=3,
    random_state=0,
)
print(results)

# %%
# Where the model from scratch never gets as far, all that is known is a lower bound,
# and it says so.

print(results.utility("Deep InfoMax", scratch="pixels"))
LabelEfficiencyDisplay.from_results(results, scratch="pixels")
