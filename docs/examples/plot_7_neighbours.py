"""
What did it learn? Neighbours and places
========================================

Two pictures show what features hold: the nearest neighbours of a sample, and the parts
of an image that its global features predict best.
"""

from sklearn.datasets import load_digits

from sk_dim import DeepInfomaxTransformer
from sk_dim.evaluation import diagnose
from sk_dim.plotting import LocalScoreDisplay, NeighborsDisplay

images = load_digits().images
dim = DeepInfomaxTransformer(max_iter=15, random_state=0).fit(images[:1297])

# %%
# ``diagnose`` says without any label whether training worked:

print(diagnose(dim, images[1297:]))

# %%
# On the left are test images, then their nearest neighbours among the other test
# images, and on the right the most distant ones.

NeighborsDisplay.from_estimator(dim, images[1297:])

# %%
# Scores of the local critic. The global features predict bright places best.

LocalScoreDisplay.from_estimator(dim, images[1297:1305])
