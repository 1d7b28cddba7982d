"""The main job and the README's examples, as a user runs them."""

import re
from pathlib import Path

import numpy as np
import pytest

from sk_dim import __main__ as main_job
from sk_dim._baselines import PatchKMeans, probe

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_main_job_prints_the_table_and_saves_the_curves(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(main_job, "N_LABELS", (2, 5))
    table = main_job.main(n_draws=1, max_iter=1)
    out = capsys.readouterr().out
    assert list(table) == [
        "raw pixels", "PCA", "patch k-means", "untrained encoder", "Deep InfoMax",
    ]  # fmt: skip
    for name, accuracies in table.items():
        assert re.search(rf"{name} +{accuracies[0]:.3f} +{accuracies[1]:.3f}\n", out)
        assert 0.4 < accuracies[0] < accuracies[1] < 1
    assert (tmp_path / main_job.PICTURE).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_examples_of_the_readme_run(capsys):
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) == 3
    scope: dict = {}
    for block in blocks:
        few = "random_state=0, max_iter=3, n_components=64"
        if "DeepInfomaxClassifier" in block:
            few = "random_state=0, n_steps=30"
        quick = block.replace("random_state=0", few)
        assert quick != block
        exec(quick, scope)
    accuracies = [float(line) for line in capsys.readouterr().out.split()]
    assert len(accuracies) == 3
    assert min(accuracies) > 0.75


def test_patch_k_means_beats_raw_pixels(digits):
    images, y = digits
    Z = PatchKMeans(n_clusters=100).fit(images[:200]).transform(images)
    raw = images.reshape(len(images), -1)
    ours, theirs = (
        probe(F[:200], y[:200], F[200:], y[200:], 5, n_draws=3).mean() for F in (Z, raw)
    )
    assert Z.shape == (300, 400)
    assert ours > theirs


def test_probe_draws_so_many_of_each_class():
    y = np.repeat(np.arange(3), 20)
    Z = np.eye(3)[y]
    assert probe(Z, y, Z, y, 4, n_draws=2).tolist() == [1.0, 1.0]
    assert probe(Z, y, Z, y, None).tolist() == [1.0]
