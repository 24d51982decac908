"""Replaying real logs, on few rounds: what is made of the films, and that the page says how it knows their chances."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import explore_log
from experiments.explore_log import Replayed, at_the_end, crossed, joined, played
from rec_jax.errors import InputError
from rec_jax.policies import bandits
from tests.helpers import small_dataset

PAYS = np.array([0.1, 0.2, 0.8])


def small(propensities: str = "estimated") -> Replayed:
    """3,000 rounds; which item is good does not depend on the user."""
    rng = np.random.default_rng(0)
    action = rng.choice(3, 3000, p=[0.3, 0.3, 0.4])
    user = np.stack([np.ones(3000), rng.integers(0, 2, 3000)], axis=1)
    share = np.bincount(action) / 3000
    return Replayed(action, (rng.random(3000) < PAYS[action]).astype(float), user, share, propensities, ("a", "b", "c"))


def test_films_are_the_most_rated_with_their_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    data = small_dataset()
    people = {"age": np.full(data.n_users, "30"), "gender": np.where(np.arange(data.n_users) % 2, "M", "F")}
    object.__setattr__(data, "user_attributes", people)
    monkeypatch.setattr(explore_log, "load", lambda name, folder: data)
    log = explore_log.films(3, Path("."))
    counts = np.sort(np.bincount(data.interactions.item))[::-1][:3]
    assert len(log.action) == counts.sum()
    np.testing.assert_allclose(log.chances, counts / counts.sum())
    assert set(log.reward) <= {0.0, 1.0}
    assert {tuple(row) for row in log.user.tolist()} == {(1, 0, 1, 0, 0), (1, 1, 1, 0, 0)}
    with pytest.raises(InputError, match="--films 1"):
        explore_log.films(1, Path("."))


def test_contexts_tell_arms_apart() -> None:
    users = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    assert crossed(users, 2)(jnp.array([1]))[0].tolist() == [[3, 4, 0, 0], [0, 0, 3, 4]]
    assert joined(users, 2)(jnp.array([1]))[0].tolist() == [[1, 0, 3, 4], [0, 1, 3, 4]]


@pytest.mark.many_steps
def test_always_exploring_loses_what_the_best_has_more() -> None:
    options = explore_log.Options(films=3, passes=30, rounds=600)
    which = {"epsilon-greedy": {e: bandits.epsilon_greedy(3, float(e)) for e in ("0.1", "1")}}
    found = played(small(), options, which, lambda name: None)
    random = found["rules"]["epsilon-greedy"]["1"]
    rates = small().rates
    assert at_the_end(random, "share")[0] == pytest.approx(rates.mean(), abs=0.02)
    assert at_the_end(random)[0] == pytest.approx(found["kept"] * (rates.max() - rates.mean()), rel=0.1)
    assert at_the_end(found["rules"]["epsilon-greedy"]["0.1"])[2] < at_the_end(random)[1]
    assert found["propensities"] == "estimated"


def test_a_price_is_paired_and_the_best_is_chosen_on_other_passes() -> None:
    earned = {"0": np.array([9.0, 1, 9, 2]), "1": np.array([5.0, 4, 5, 6])}
    found = explore_log.prices(earned)
    assert (found["0"].mean, found["0"].low, found["0"].high) == (0, 0, 0)  # the best of the first and third pass
    assert found["1"].mean == np.mean([1 - 4, 2 - 6])
    assert found["1"].low == pytest.approx(-4 + 0.025)


def test_the_script_says_that_chances_are_estimated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(explore_log, "films", lambda n, folder: small())
    monkeypatch.setattr(explore_log, "shop", lambda campaign, folder: small("logged"))
    few = {"epsilon-greedy": {e: bandits.epsilon_greedy(3, float(e)) for e in ("0", "1")}}
    monkeypatch.setattr(explore_log, "rules", lambda arms, features: few)
    explore_log.script(["--films", "3", "--passes", "4", "--rounds", "200", "--out", str(tmp_path)])
    out = capsys.readouterr().out
    assert "propensities are estimated" in out
    assert "propensities are logged" in out
    record = json.loads((tmp_path / "record.json").read_text())
    assert (record["films"]["propensities"], record["shop"]["propensities"]) == ("estimated", "logged")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
    with pytest.raises(InputError, match="--passes 3"):
        explore_log.script(["--passes", "3"])
    options = explore_log.Options(films=3, passes=4, rounds=2)
    with pytest.raises(InputError, match=r"--rounds 2: of them a pass kept \d with 3 arms"):
        explore_log.played(small(), options, few, lambda name: None)
