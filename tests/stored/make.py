"""Write files of this version, which later versions have to load.

Run it once for a released version, and add what it writes to the repository; files of
earlier versions stay as they are::

    python tests/stored/make.py

Each holds tiny estimators, some samples, and what the estimators made of these.
"""

from functools import partial
from pathlib import Path

import joblib
import numpy as np

from sk_dim import DeepInfomaxClassifier, DeepInfomaxTransformer, __version__
from sk_dim.critics import DotCritic
from sk_dim.encoders import ConvEncoder, MLPEncoder
from sk_dim.export import save_encoder

FOLDER = Path(__file__).parent


def main() -> None:
    """Fit, and write one file of joblib and one of safetensors."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 8, 8, 2), dtype=np.uint8)
    table = rng.normal(size=(40, 6))
    small = partial(DotCritic, n_units=8)
    conv = partial(ConvEncoder, n_hidden=8, n_channels=4)
    dim = DeepInfomaxTransformer(
        4, encoder=conv, critic=small, max_iter=2, device="cpu", random_state=0
    )
    recipe = DeepInfomaxTransformer(
        4,
        encoder=partial(MLPEncoder, n_hidden=8, n_subsets=3),
        critic=small,
        max_iter=2,
        device="cpu",
        random_state=0,
    )
    y = np.array(["a", "b"])[(table[:, 0] > 0).astype(int)]
    dim.fit(images)
    classifier = DeepInfomaxClassifier(recipe, n_steps=20, random_state=0).fit(table, y)
    content = {
        "transformer": (dim, images, dim.transform(images)),
        "classifier": (classifier, table, classifier.predict_proba(table)),
    }
    joblib.dump(content, FOLDER / f"{__version__}.joblib", compress=True)
    save_encoder(dim, FOLDER / f"{__version__}.safetensors")


if __name__ == "__main__":
    main()
