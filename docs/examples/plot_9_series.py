"""
Series of unequal length: heart rhythms
=======================================

Series come as a list of arrays, each as long as it is. Of many recordings a doctor has
named twelve. Features are learnt from all of them.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression

from sk_dim import DeepInfomaxTransformer
from sk_dim.plotting import LocalScoreDisplay, NeighborsDisplay

# %%
# A recording starts anywhere and lasts for three to seven beats. Hearts differ in speed
# and strength; the kinds differ in the shape of a wave, or in when the beats come.

PLACES = np.array([0.2, 0.36, 0.4, 0.44, 0.7])  # of the waves P to T in a beat
WIDTHS = np.array([0.03, 0.012, 0.014, 0.014, 0.05])
HEIGHTS = np.array([0.15, -0.12, 1.0, -0.25, 0.3])
KINDS = ("regular", "wide", "irregular")


def draw_recording(kind, rng):
    n_samples = int(rng.integers(200, 400))
    speed = rng.uniform(0.8, 1.25) / 60  # beats a sample
    time = np.arange(n_samples)
    irregular = 0.4 if KINDS[kind] == "irregular" else 0.04
    starts = np.cumsum(1 + irregular * rng.uniform(-1, 1, size=12)) - 2 - rng.uniform()
    heights, widths = HEIGHTS * rng.uniform(0.8, 1.2, size=5), WIDTHS.copy()
    if KINDS[kind] == "wide":
        widths[2] *= 2.5
    beats = time[:, None, None] * speed - starts[:, None] - PLACES
    waves = np.exp(-((beats / widths) ** 2) / 2).sum(axis=1) @ heights
    noise = 0.05 * rng.normal(size=n_samples)
    return (rng.uniform(0.7, 1.3) * waves + noise)[None]  # (channels, length)


rng = np.random.default_rng(0)
y = rng.integers(3, size=360)
recordings = [draw_recording(kind, rng) for kind in y]
train, test = recordings[:240], recordings[240:]
y_train, y_test = y[:240], y[240:]

# %%
# Four recordings of each kind have a label.

labelled = np.concatenate([np.flatnonzero(y_train == kind)[:4] for kind in range(3)])
dim = DeepInfomaxTransformer(input_type="series", random_state=0).fit(train)
few = LogisticRegression(max_iter=1000).fit(
    dim.transform([train[i] for i in labelled]), y_train[labelled]
)

cut = np.array([each[0, :200] for each in recordings])
raw = LogisticRegression(max_iter=1000).fit(cut[labelled], y_train[labelled])

print(f"values, cut to one length: {raw.score(cut[240:], y_test):.3f}")
print(f"features:                  {few.score(dim.transform(test), y_test):.3f}")

# %%
# On the left are recordings, beside them the nearest in the features, and on the right
# the farthest.

rows = [int(np.flatnonzero(y_test == kind)[0]) for kind in range(3)]
NeighborsDisplay.from_estimator(dim, test, rows=rows, n_neighbors=3)

# %%
# Where in a recording is what its features tell? Bright parts are those that they
# predict best.

LocalScoreDisplay.from_estimator(dim, [test[i] for i in rows])
plt.show()
