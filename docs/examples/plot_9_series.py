"""
Series of unequal length: heartbeats
====================================

Series come as a list of arrays, each as long as it is. Of many heartbeats a doctor has
named twelve; the others help to tell the three kinds apart.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sk_dim import DeepInfomaxClassifier, DeepInfomaxTransformer
from sk_dim.plotting import LocalScoreDisplay, NeighborsDisplay

# %%
# A beat is a sum of five waves. Beats of every kind differ in speed, in strength and in
# where the recording starts; the kinds differ in the shape of one wave.


def draw_beat(kind, rng):
    length = int(rng.integers(90, 150))
    time = np.linspace(0, 1, length) - rng.uniform(-0.05, 0.05)
    places, widths = [0.2, 0.36, 0.4, 0.44, 0.7], [0.03, 0.012, 0.014, 0.014, 0.05]
    heights = np.array([0.15, -0.12, 1.0, -0.25, 0.3])
    if kind == 1:  # the last wave is upside down
        heights[4] = -0.2
    if kind == 2:  # the main wave is wide
        widths[2] = 0.035
    heights = heights * rng.uniform(0.7, 1.3, size=5)
    waves = np.exp(-(((time[:, None] - places) / widths) ** 2) / 2)
    drift = 0.3 * np.sin(2 * np.pi * (time + rng.uniform()))
    noise = 0.08 * rng.normal(size=length)
    return (waves @ heights + drift + noise)[None]  # (channels, length)


rng = np.random.default_rng(0)
y = rng.integers(3, size=600)
beats = [draw_beat(kind, rng) for kind in y]
train, test = beats[:400], beats[400:]
y_train, y_test = y[:400], y[400:]

# %%
# Twelve beats have a label. Features are learnt from all 400, and the classifier also
# lets the labels spread to neighbours.

labelled = np.concatenate([np.flatnonzero(y_train == kind)[:4] for kind in range(3)])
given = np.full(400, -1)
given[labelled] = y_train[labelled]

dim = DeepInfomaxTransformer(input_type="series", random_state=0).fit(train)
few = make_pipeline(dim, LogisticRegression(max_iter=1000))[-1].fit(
    dim.transform([train[i] for i in labelled]), y_train[labelled]
)
classifier = DeepInfomaxClassifier(dim, random_state=0).fit(train, given)

shortest = min(each.shape[1] for each in beats)
cut = np.array([each[0, :shortest] for each in beats])
raw = LogisticRegression(max_iter=1000).fit(cut[labelled], y_train[labelled])

print(f"values, cut to one length: {raw.score(cut[400:], y_test):.3f}")
print(f"features:                  {few.score(dim.transform(test), y_test):.3f}")
print(f"features and all beats:    {classifier.score(test, y_test):.3f}")

# %%
# On the left are beats, beside them the nearest in the features, and on the right the
# farthest.

rows = [int(np.flatnonzero(y_test == kind)[0]) for kind in range(3)]
NeighborsDisplay.from_estimator(dim, test, rows=rows, n_neighbors=3)

# %%
# Where in a beat is what its features tell? Bright parts are those that they predict
# best.

LocalScoreDisplay.from_estimator(dim, [test[i] for i in rows])
plt.show()
