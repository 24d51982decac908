"""Regret of bandits over topics, on few users."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import stats

from experiments import explore
from experiments.explore import Options, at_the_end, course
from rec_jax.errors import InputError
from rec_jax.policies import bandits
from rec_jax.simulate.interest_exploration import InterestExploration


def test_regret_is_what_the_best_slate_would_have_brought_more() -> None:
    world, n, steps = InterestExploration(), 3000, 40
    found = course(world, bandits.epsilon_greedy(2, 1.0), jax.random.key(0), np.arange(n), steps)
    per_step = np.diff(np.asarray(found.regret), axis=1)
    assert (per_step >= -1e-5).all()  # no slate is better than the best
    # Clicks of the best slate, shown by its scores: what is lost beside it is the difference in clicks.
    state, best = world.reset(jax.random.fold_in(jax.random.key(0), 0), n), 0.0
    step = jax.jit(world.step)
    for t in range(steps):
        _, of_users = jax.random.split(jax.random.fold_in(jax.random.key(0), t + 1))
        slates = explore.best(world.scores(state), world.slate)
        state, response = step(of_users, state, slates)
        best += float(response.reward.mean())
    lost = best - float(found.clicks.sum(axis=1).mean())
    assert float(found.regret[:, -1].mean()) == pytest.approx(lost, abs=4 * (0.5 * steps / n) ** 0.5)


@pytest.mark.many_steps
def test_the_script_shows_that_too_little_and_too_much_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(explore, "EPSILONS", (0.0, 0.1, 1.0))
    monkeypatch.setattr(explore, "SCALES", (0.1,))
    monkeypatch.setattr(explore, "PRIORS", (1.0,))
    explore.script(["--users", "300", "--steps", "200", "--out", str(tmp_path)])
    record = json.loads((tmp_path / "record.json").read_text())
    ends = {name: at_the_end(of)[0] for name, of in record["rules"]["epsilon-greedy"].items()}
    assert ends["0.1"] < ends["0"] < ends["1"]
    assert at_the_end(record["rules"]["UCB1, scale"]["0.1"])[0] < at_the_end(record["rules"]["by quality"][""])[0]
    own, shared = (record["rules"][name] for name in ("Thompson, prior", explore.SHARED))
    assert at_the_end(shared["favourite topic"])[0] < at_the_end(own["1"])[0]
    assert (tmp_path / "plot.png").stat().st_size > 10_000
    assert "epsilon-greedy" in capsys.readouterr().out


def test_too_few_are_refused() -> None:
    assert Options().users >= 2
    with pytest.raises(InputError, match="--users 1"):
        explore.script(["--users", "1"])
    with pytest.raises(InputError, match="--groups 6: expected from 2 to half of 10 users"):
        explore.script(["--users", "10", "--groups", "6"])


def test_users_who_share_a_bandit_are_of_one_group_and_count_as_one() -> None:
    world, group = InterestExploration(), np.arange(60) % 4
    users = explore.first(world, jax.random.key(0), 60)
    shared = explore.clusters(users, group)
    favourite = np.asarray(users.affinity).argmax(axis=1)
    assert len(set(zip(shared["favourite topic"], group, favourite))) == len(set(shared["favourite topic"]))
    np.testing.assert_array_equal(shared["all"], group)
    values = np.random.default_rng(0).random(60) + group  # users of a group are alike
    found = explore.over_groups(group, {"1": values})["1"]
    means = [values[group == each].mean() for each in range(4)]
    half = stats.t.ppf(0.975, 3) * np.std(means, ddof=1) / 2
    assert found.mean == pytest.approx(np.mean(means))
    assert (found.low, found.high) == pytest.approx((np.mean(means) - half, np.mean(means) + half))
