"""
What did it learn? Neighbours and places
========================================

Nearest neighbours among the features, and the parts of an image that its global
features tell most about.
"""

from sklearn.datasets import load_digits

from sk_dim import DeepInfomaxTransformer
from sk_dim.evaluation import diagnose
from sk_dim.plotting import LocalScoreDisplay, NeighborsDisplay

images = load_digits().images
dim = DeepInfomaxTransformer(max_iter=15, random_state=0).fit(images[:1297])

# %%
# Did the training work? Without any label:

print(diagnose(dim, images[1297:]))

# %%
# The first column are images that were not trained on, then the nearest among the
# others, and on the right the farthest.

NeighborsDisplay.from_estimator(dim, images[1297:])

# %%
# Scores of the local critic: bright places are those that the global features of the
# image tell most about.

LocalScoreDisplay.from_estimator(dim, images[1297:1305])
