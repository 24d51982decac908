"""Choice models against RecSim's own, and the draw by counting."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rec_jax.errors import InputError
from rec_jax.simulate.choice import Cascade, ChoiceModel, Logit, Proportional, choose

RECSIM = json.loads((Path(__file__).parent / "recsim.json").read_text())["choice"]
MODELS: dict[str, ChoiceModel] = {
    "proportional": Proportional(),
    "logit": Logit(),
    "cascade": Cascade(),
    "exponential cascade": Cascade(exponential=True),
}


@pytest.mark.parametrize("name", MODELS)
def test_chances_are_recsims(name: str) -> None:
    of_each, of_none = MODELS[name].weights(jnp.asarray(RECSIM["scores"], jnp.float32))
    weights = np.concatenate([of_each, np.asarray(of_none)[:, None]], axis=1)
    chances = weights / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(chances, RECSIM["chances"][name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", MODELS)
def test_odds_are_the_chances_of_slates_of_one_wherever_a_candidate_stands(name: str) -> None:
    scores = jnp.array([[0.8, -0.3, 0.8, 0.1]])
    of_each, of_none = MODELS[name].odds(scores)
    for place in range(4):
        (alone,), none = (of[0] for of in MODELS[name].weights(scores[:, place : place + 1]))
        chance = of_each[0, place] / (of_each[0, place] + of_none[0])
        assert float(chance) == pytest.approx(float(alone / (alone + none)), rel=1e-5)


def test_a_certain_click_has_finite_odds() -> None:
    of_each, of_none = Cascade(attention=1.0, scaling=5.0).odds(jnp.array([[1.0, -1.0]]))
    assert of_each[0].tolist() == pytest.approx([999, 0], rel=1e-3)
    assert of_none.tolist() == [1]


def test_a_logit_does_not_overflow() -> None:
    of_each, of_none = Logit(no_click_mass=-1000.0).weights(jnp.array([[900.0, 899.0]]))
    np.testing.assert_allclose(of_each, [[1, np.exp(-1)]], rtol=1e-6)
    assert of_none.tolist() == [0.0]


def test_the_choice_follows_the_weights() -> None:
    n = 100_000
    of_each, of_none = jnp.tile(jnp.array([2.0, 0.0, 1.0]), (n, 1)), jnp.full(n, 5.0)
    found = np.asarray(choose(jax.random.uniform(jax.random.key(0), (n,)), of_each, of_none))
    counts = np.bincount(found, minlength=4)
    assert counts[1] == 0
    assert stats.chisquare(counts[[0, 2, 3]], np.array([2, 1, 5]) * n / 8).pvalue > 0.01


@pytest.mark.parametrize(
    ("made", "part"),
    [
        (lambda: Proportional(no_click_mass=-2.0), "no_click_mass -2"),
        (
            lambda: Proportional(no_click_mass=-1.0),
            "min_normalizer -1.0: expected finite numbers, the first above the second",
        ),
        (lambda: Proportional(min_normalizer=-math.inf), "min_normalizer -inf: expected finite numbers"),
        (lambda: Cascade(attention=1.5), "attention 1.5"),
        (lambda: Cascade(scaling=-1.0), "scaling -1"),
        (lambda: Cascade(min_normalizer=float("nan")), "min_normalizer nan"),
        (lambda: Logit(float("nan")), "no_click_mass nan"),
    ],
)
def test_impossible_settings_are_refused(made: object, part: str) -> None:
    with pytest.raises(InputError, match=part):
        made()  # type: ignore[operator]
