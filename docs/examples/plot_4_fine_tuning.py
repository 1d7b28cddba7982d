"""
Twenty labels
=============

Can a classifier learn ten digits from two labels each?
:class:`sk_dim.DeepInfomaxClassifier` uses the unlabelled rows twice: to learn features,
and as pseudo-labels while the encoder is fine-tuned.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import train_test_split
from sklearn.semi_supervised import LabelSpreading

from sk_dim import DeepInfomaxClassifier, DeepInfomaxTransformer
from sk_dim.plotting import TrainingDisplay

images, y = load_digits().images, load_digits().target
train, test, y_train, y_test = train_test_split(
    images, y, test_size=500, stratify=y, random_state=0
)
labelled, _ = train_test_split(
    np.arange(len(train)), train_size=20, stratify=y_train, random_state=0
)
given = np.full(len(train), -1)  # -1 marks a row without a label
given[labelled] = y_train[labelled]

# %%
# Two baselines. The second one uses the unlabelled rows too.

flat, flat_test = train.reshape(-1, 64), test.reshape(-1, 64)
pixels = LogisticRegression(max_iter=500).fit(flat[labelled], y_train[labelled])
print(f"logistic regression {pixels.score(flat_test, y_test):.3f}")
spreading = LabelSpreading(kernel="knn", n_neighbors=7).fit(flat, given)
with np.errstate(invalid="ignore"):  # rows that no label reaches
    print(f"label spreading {spreading.score(flat_test, y_test):.3f}")

# %%
# The transformer is passed unfitted, so the classifier fits it on all rows. A fitted
# one would be used as it is.

model = DeepInfomaxClassifier(
    DeepInfomaxTransformer(max_iter=15), n_steps=300, random_state=0
)
model.fit(train, given)
print(f"DeepInfomaxClassifier {model.score(test, y_test):.3f}")

# %%
# The loss terms of the fine-tuning, and the confidence: the mean probability of the
# pseudo-labels of unlabelled rows.

TrainingDisplay.from_estimator(model)
levels = [row["confidence"] for row in model.history_]
print(f"confidence at the start {levels[0]:.2f}, at the end {levels[-1]:.2f}")

# %%
# Which digits are confused with which others:

ConfusionMatrixDisplay.from_estimator(model, test, y_test, colorbar=False)

# sphinx_gallery_thumbnail_number = 2
