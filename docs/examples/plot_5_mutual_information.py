"""
Mutual information of any two variables
=======================================

How much does one variable say about another? Mutual information answers in nats,
whatever the form of the dependence.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from sk_dim import MutualInformationEstimator, mutual_information
from sk_dim.datasets import make_normal_pairs

# %%
# First, pairs whose mutual information is known: normal variables of growing
# correlation. Points on the dashed line are exact; bars are `interval_`.

truths = np.array([0.1, 0.5, 1.0])
found = []
for truth in truths:
    X, Y, _ = make_normal_pairs(2500, mutual_information=truth, random_state=0)
    estimator = MutualInformationEstimator(random_state=0).fit(X, Y)
    found.append((estimator.mutual_information_, *estimator.interval_))
values, low, high = np.transpose(found)
plt.errorbar(truths, values, [values - low, high - values], fmt="o", capsize=4)
plt.axline((0, 0), slope=1, color="grey", linestyle="--")
plt.gca().set(xlabel="truth, nats", ylabel="estimate and interval, nats")

# %%
# Points on a noisy circle are dependent, though their correlation is near 0.

rng = np.random.default_rng(0)
angle = rng.uniform(0, 2 * np.pi, 2500)
x = np.cos(angle) + 0.1 * rng.normal(size=2500)
y = np.sin(angle) + 0.1 * rng.normal(size=2500)
print(f"correlation {np.corrcoef(x, y)[0, 1]:.2f}")
print(f"mutual information {mutual_information(x, y, random_state=0):.2f} nats")

# %%
# Images are read through features that a small Deep InfoMax transformer learns from
# them. Images of digits and their labels share at most the entropy of the labels,
# log 10 = 2.30 nats.

images, labels = load_digits().images, load_digits().target
print(f"{mutual_information(images, labels, random_state=0):.2f} nats")
