"""
A folder of photos
==================

A folder of photos of many sizes, some of them broken, none of them labelled. Which are
worth a label, and how well does a model then tell the others apart?
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import sk_dim
from sk_dim import DeepInfomaxTransformer, ImageLoader, list_images
from sk_dim.plotting import SelectionDisplay
from sk_dim.selection import near_duplicates, outliers, suggest_labels

# %%
# Twelve photographs are cut into pieces, and the photograph is what is to be told of a
# piece. Those to learn from are of the left two thirds, those to judge by of the rest.

NAMES = ("astronaut", "brick", "cat", "coffee", "coins", "grass", "gravel", "rocket")
PHOTOS = {name: getattr(data, name)() for name in NAMES}
PHOTOS |= {"cells": data.immunohistochemistry(), "stars": data.hubble_deep_field()}
PHOTOS |= {name: load_sample_image(f"{name}.jpg") for name in ("china", "flower")}


def cut(folder, n_pieces, start, end, rng):
    for name, pixels in PHOTOS.items():
        photo = Image.fromarray(pixels)
        left, right = int(start * photo.width), int(end * photo.width)
        (folder / name).mkdir(parents=True)
        for i in range(n_pieces):
            width = int(rng.integers(64, min(160, right - left)))
            height = int(width * rng.uniform(0.8, 1.0))
            x = int(rng.integers(left, right - width + 1))
            y = int(rng.integers(0, photo.height - height + 1))
            piece = photo.crop((x, y, x + width, y + height))
            piece.save(folder / name / f"{i:02}.jpg")


temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name, "photos")
cut(folder / "train", 30, 0, 2 / 3, np.random.default_rng(0))
cut(folder / "test", 15, 2 / 3, 1, np.random.default_rng(1))

# %%
# As in most folders, some files are broken, one photo is there twice, and something got
# in that is no photo.

content = (folder / "train/china/00.jpg").read_bytes()
(folder / "train/china/00.jpg").write_bytes(content[: len(content) // 2])
(folder / "train/coins/07.jpg").write_text("This is no image.")
(folder / "train/rocket/20.jpg").write_bytes(b"")
with Image.open(folder / "train/coffee/05.jpg") as photo:
    photo.resize((64, 52)).save(folder / "train/coffee/05 small.png")
Image.fromarray(data.colorwheel()).save(folder / "train/brick/colours.png")

# %%
# ``ImageLoader`` makes one array of them, of which nothing is read before it is needed.
# Three files cannot be read. They could stay where they are, for ``fit`` leaves them
# out; without them, every row has features.

loader = ImageLoader(40, on_error="warn")
paths = list_images(folder / "train")
broken = loader.transform(paths).find_broken()
for row, why in broken.items():
    print(row, why.removeprefix(f"{folder}/"))
paths = np.delete(paths, list(broken))
images = loader.transform(paths)
print(images)

# %%
# Features are learnt from all of them, without labels.

dim = DeepInfomaxTransformer(augment="natural", max_iter=6, random_state=0)
Z = dim.fit_transform(images)

# %%
# What to label first: typical pieces, unlike one another, and the most useful first.

rows = suggest_labels(Z, 24, random_state=0)
SelectionDisplay.from_rows(images, rows)

# %%
# Their labels, here the names of their folders, teach a model, which is tried on the
# right thirds. Beside it are ten draws of as many random pieces, by mean and standard
# deviation.

test_paths = list_images(folder / "test")
y, y_test = (
    np.array([Path(path).parent.name for path in each]) for each in (paths, test_paths)
)
Z_test = dim.transform(loader.transform(test_paths))


def score(rows):
    model = LogisticRegression(max_iter=1000).fit(Z[rows], y[rows])
    return model.score(Z_test, y_test)


numbers = np.array([6, 12, 24, 48])
suggested = [score(suggest_labels(Z, n, random_state=0)) for n in numbers]
draws = [np.random.default_rng(seed).permutation(len(y)) for seed in range(10)]
random = np.array([[score(draw[:n]) for n in numbers] for draw in draws])
for n, ours, others in zip(numbers, suggested, random.T, strict=True):
    print(f"{n} labels: {ours:.3f}, random {others.mean():.3f} ± {others.std():.3f}")

_, ax = plt.subplots(figsize=(6, 3.4), layout="constrained")
ax.plot(numbers, suggested, "o-", label="suggested")
mean, spread = random.mean(axis=0), random.std(axis=0)
ax.errorbar(numbers, mean, spread, fmt="s-", capsize=3, label="random")
ax.set(xscale="log", xticks=numbers, xticklabels=numbers, xlabel="labels")
ax.set(ylim=(0, 1), ylabel="accuracy")
ax.minorticks_off()
ax.legend()

# %%
# Pairs that are nearly the same waste labels. The copy of another size is among them,
# and else pieces of bare sky.

pairs, distances = near_duplicates(Z)
SelectionDisplay.from_rows(images, pairs[:12], distances[:12])

# %%
# The strangest rows, with how many times as far from others as usual they are. What is
# no photo comes first; behind it come pieces of much detail.

strange = outliers(Z)
rows = np.argsort(-strange)[:8]
SelectionDisplay.from_rows(images, rows, strange[rows])

# %%
# A pipeline takes the paths themselves, and so do searches over its parameters.

model = make_pipeline(
    ImageLoader(cache=folder / "cache"),
    DeepInfomaxTransformer(augment="natural", max_iter=1, random_state=0),
    LogisticRegression(max_iter=1000),
)
search = GridSearchCV(model, {"imageloader__size": [16, 32]}, cv=2)
search.fit(paths, y)
for size, found in zip(
    search.cv_results_["param_imageloader__size"],
    search.cv_results_["mean_test_score"],
    strict=True,
):
    print(f"{size} pixels: {found:.3f}")

# %%
# The whole pipeline is one file, which another process loads, and gives it paths.

sk_dim.save(search.best_estimator_, folder / "model.joblib")
code = "import joblib, sys; print(joblib.load(sys.argv[1]).predict(sys.argv[2:]))"
command = [sys.executable, "-c", code, folder / "model.joblib", *test_paths[::45]]
done = subprocess.run(command, check=True, capture_output=True, text=True)
print(done.stdout.strip())
temporary.cleanup()
plt.show()
