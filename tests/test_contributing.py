"""The blocks of docs/contributing.md: parts added by following the page work."""

import math
import re
from pathlib import Path

import pytest
import torch

import sk_dim.encoders
from sk_dim.augmentations import AUGMENTATIONS
from sk_dim.bounds import BOUNDS
from sk_dim.encoders import ENCODERS
from sk_dim.priors import PRIORS
from sk_dim.tasks import TASKS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "contributing.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
TABLES = (AUGMENTATIONS, BOUNDS, ENCODERS, PRIORS, TASKS)


@pytest.fixture(autouse=True)
def tables():
    """Take out of the tables what the page puts in."""
    before = [dict(table) for table in TABLES]
    yield
    for table, entries in zip(TABLES, before, strict=True):
        table.clear()
        table.update(entries)


def run(blocks):
    scope: dict = {}
    for block in blocks:
        exec(block, scope)
    return scope


def test_the_page_adds_one_part_of_each_kind():
    added = re.findall(r'^([A-Z]+)\["', "\n".join(BLOCKS), flags=re.MULTILINE)
    assert sorted(added) == ["AUGMENTATIONS", "BOUNDS", "ENCODERS", "PRIORS", "TASKS"]


def test_all_blocks_run_one_after_the_other():
    """Among them three fits, which use the added parts by name."""
    scope = run(BLOCKS)
    assert ENCODERS["recurrent"] is scope["RecurrentEncoder"]
    assert issubclass(scope["RecurrentEncoder"], sk_dim.encoders.Encoder)
    assert scope["dim"].n_iter_ == 1
    assert scope["dim"].history_[0]["sparsity"] < 0
    for name in ("recurrent", "jeffreys", "laplace", "fade", "sparsity"):
        assert sum(block.count(f'"{name}"') for block in BLOCKS) == 2


def test_an_added_encoder_is_refused_where_it_does_not_fit():
    scope = run(BLOCKS[:3])
    images = torch.zeros(8, 8, 8).numpy()
    with pytest.raises(ValueError, match="recurrent"):
        scope["DeepInfomaxTransformer"](encoder="recurrent").fit(images)


def test_the_bound_of_the_page_is_the_divergence_of_jeffreys():
    # Two coins that agree with probability 0.9: E_J[log ratio] - E_M[log ratio],
    # reached by the log density ratio as score.
    agree, differ = math.log(1.8), math.log(0.2)
    truth = 0.4 * (agree - differ)
    positive = torch.tensor([agree] * 9 + [differ]).double()
    negative = torch.tensor([agree, differ, -math.inf]).double().expand(10, 3)
    jeffreys = run(BLOCKS[:1])["jeffreys"]
    assert float(jeffreys(positive, negative)) == pytest.approx(truth)
    assert float(jeffreys(torch.zeros(4), torch.zeros(4, 2))) == 0


def test_the_prior_of_the_page_draws_from_the_laplace_distribution():
    prior = run([next(b for b in BLOCKS if "PRIORS" in b)])
    codes = torch.zeros(100_000, 1)
    drawn = prior["laplace"](codes, torch.Generator().manual_seed(0))
    assert drawn.shape == codes.shape
    assert float(drawn.abs().mean()) == pytest.approx(1, abs=0.02)
    assert float(drawn.square().mean()) == pytest.approx(2, abs=0.1)
    assert float(drawn.mean()) == pytest.approx(0, abs=0.02)


def test_the_files_named_on_the_page_exist():
    text = PAGE.read_text()
    for path in set(re.findall(r"`((?:sk_dim|tests|docs)/[\w/.]+)`", text)):
        assert (ROOT / path).exists(), path


def test_the_list_of_files_is_that_of_the_package():
    tree = re.search(r"```text\nsk_dim/\n(.*?)\ntests/", PAGE.read_text(), re.DOTALL)[1]
    listed = {line.split()[0].rstrip("/") for line in tree.splitlines()}
    there = {
        path.name
        for path in (ROOT / "sk_dim").iterdir()
        if path.name not in ("__pycache__", "py.typed")
    }
    assert listed == there
