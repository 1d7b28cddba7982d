"""
Features for a pipeline
=======================

Can a linear model read digits from fifty labels? Features are learnt from all images
without their labels; logistic regression on them then needs a few labelled ones.
"""

from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from sk_dim import DeepInfomaxTransformer

images, y = load_digits().images, load_digits().target
train, test, y_train, y_test = train_test_split(
    images, y, test_size=500, stratify=y, random_state=0
)
dim = DeepInfomaxTransformer(random_state=0).fit(train)
dim

# %%
# The fitted transformer is frozen. A pipeline would otherwise fit it again, on the
# labelled rows alone.

for n_labels in (50, 100, 300):
    labelled, _, y_labelled, _ = train_test_split(
        train, y_train, train_size=n_labels, stratify=y_train, random_state=0
    )
    model = make_pipeline(FrozenEstimator(dim), LogisticRegression(max_iter=500))
    pixels = LogisticRegression(max_iter=500)
    score = model.fit(labelled, y_labelled).score(test, y_test)
    pixels.fit(labelled.reshape(-1, 64), y_labelled)
    print(
        f"{n_labels} labels: accuracy {score:.3f}, with pixels "
        f"{pixels.score(test.reshape(-1, 64), y_test):.3f}"
    )

# %%
# The terms of the objective rise over the epochs:

from sk_dim.plotting import TrainingDisplay

TrainingDisplay.from_estimator(dim)

# %%
# The test images, on the two main axes of their features, form groups by digit. The
# labels only colour the picture:

from sk_dim.plotting import FeaturesDisplay

FeaturesDisplay.from_estimator(dim, test, y_test)

# sphinx_gallery_thumbnail_number = 2
