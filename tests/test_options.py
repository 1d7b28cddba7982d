"""Each option of the method changes the terms that it says it changes, and no other.

Nothing is learnt: with one seed the nets begin alike, so terms that an option leaves
alone have the same value with it and without.
"""

from functools import partial

import numpy as np
import pytest

from sk_dim import DeepInfomaxTransformer
from sk_dim.critics import DotCritic
from sk_dim.encoders import ConvEncoder
from sk_dim.recipes import DIM_LOCAL_GLOBAL

TERMS = ("local", "global", "prior")
SMALL = partial(ConvEncoder, n_channels=8, n_hidden=16)
NOTHING_LEARNT = DIM_LOCAL_GLOBAL | {
    "encoder": SMALL,
    "critic": partial(DotCritic, n_units=16, n_locations=None),
    "max_iter": 1,
    "batch_size": 32,
    "learning_rate": 1e-12,
    "random_state": 0,
}


def first_epoch(digits, **params):
    """Return its terms, and the weight of each."""
    dim = DeepInfomaxTransformer(**(NOTHING_LEARNT | params)).fit(digits[0][:64])
    weights = {name: getattr(dim, f"{name}_weight") for name in TERMS}
    return dim.history_[0], weights


@pytest.fixture(scope="module")
def plain(digits):
    return first_epoch(digits)[0]


@pytest.mark.parametrize(
    ("params", "changed"),
    [
        ({}, ()),
        *(
            ({"bound": name}, ("local", "global"))
            for name in (
                "jsd",
                "donsker_varadhan",
                "nwj",
                "kl",
                "reverse_kl",
                "hellinger",
                "chi_squared",
            )
        ),
        ({"critic": "concat"}, TERMS),  # nets that are drawn before the prior's
        ({"prior": "normal"}, ("prior",)),
        ({"prior": "noise"}, TERMS),
        ({"prior_weight": 0.0}, ("prior",)),
        ({"global_weight": 0.0}, ("global", "prior")),
        ({"local_weight": 0.0}, ("local", "global", "prior")),
        ({"local_weight": 3.0}, ()),
        ({"tasks": "coordinates"}, ()),
        # It draws pairs of places, and the prior its samples after them.
        ({"tasks": "relative_coordinates"}, ("prior",)),
        ({"tasks": {"coordinates": 0.5, "relative_coordinates": 2.0}}, ("prior",)),
        ({"augment": "occlude"}, TERMS),
        (
            {"encoder": partial(SMALL, global_map=True), "prior_weight": 0.0},
            ("local", "global", "prior"),
        ),
    ],
)
def test_an_option_changes_its_terms_and_no_other(digits, plain, params, changed):
    found, weights = first_epoch(digits, **params)
    for name in TERMS:
        is_same = np.isclose(found[name], plain[name], rtol=1e-5)
        assert is_same == (name not in changed), name
    tasks = params.get("tasks", {})
    weights |= {tasks: 1.0} if isinstance(tasks, str) else tasks
    added = {name.removeprefix("valid_") for name in found.keys() - plain.keys()}
    assert added == weights.keys() - set(TERMS)
    loss = -sum(weights[name] * found[name] for name in weights if weights[name])
    assert found["loss"] == pytest.approx(loss, rel=1e-5)
