"""
How many labels does it save?
=============================

Accuracy is drawn over the number of labels, for several draws of them. The utility of
Newell & Deng (2020, arXiv:2003.14323) says how many more labels the model from scratch
needs for the same accuracy, as a share of the labels given.
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
# A utility of 1 means that half of the labels are saved. Where the model from scratch
# never reaches the accuracy, the value is a lower bound and is printed as one.

print(results.utility("Deep InfoMax", scratch="pixels"))
LabelEfficiencyDisplay.from_results(results, scratch="pixels")
