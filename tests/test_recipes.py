import numpy as np
import pytest
from sklearn.base import clone

from sk_dim import DeepInfomaxTransformer
from sk_dim.recipes import DIM_LOCAL, RECIPES

# Hjelm et al., section 4: weights of the global, the local and the prior term.
WEIGHTS = {"DIM(G)": (1.0, 0.0, 1.0), "DIM(L)": (0.0, 1.0, 0.1)}
IMAGES = np.random.default_rng(0).integers(0, 256, (70, 32, 32, 3), dtype=np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_the_nets_of_the_paper(name):
    dim = DeepInfomaxTransformer(**RECIPES[name], max_iter=1, random_state=0)
    dim = clone(dim).fit(IMAGES)
    features = dim.features(IMAGES[:2])
    assert {layer: found.shape[1:] for layer, found in features.items()} == {
        "global": (64,),
        "hidden": (1024,),
        "conv": (256, 4, 4),
        "local": (128, 8, 8),
    }
    (epoch,) = dim.history_
    for term in ("global", "local", "prior"):
        assert np.isfinite(epoch[term]) == (RECIPES[name][f"{term}_weight"] > 0)
    assert dim.batch_size_ == 64


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_are_those_of_the_paper(name):
    params = RECIPES[name]
    found = [params[f"{term}_weight"] for term in ("global", "local", "prior")]
    assert tuple(found) == WEIGHTS[name]


def test_a_recipe_is_changed_in_a_copy_only():
    changed = DIM_LOCAL | {"bound": "jsd"}
    assert changed["bound"] == "jsd"
    assert DIM_LOCAL["bound"] == "infonce"
    with pytest.raises(TypeError, match="does not support item assignment"):
        DIM_LOCAL["bound"] = "jsd"
