"""Sessions' metrics in plain Python, and a small training before and after."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import before_after
from experiments.before_after import AFTER, BEFORE, METRICS, Sums, by_user, parts, sessions
from experiments.logged_users import FIXED, ranked
from rec_jax.errors import InputError
from tests.helpers import write_small_csv
from tests.simulate.test_logged_users import WORLD, made_up

FLAGS = ["--rating-column", "rating", "--time-column", "time", "--factors", "2", "--l2", "2", "--resamples", "20"]


def test_metrics_are_their_definitions() -> None:
    """A loop in Python over the same keys, one user and one slate after the other."""
    world, key, who = replace(WORLD, budget=12), jax.random.key(3), jnp.arange(6, dtype=jnp.int32) % 3
    act, params = ranked(world), jnp.asarray(FIXED["best predicted"], jnp.float32)
    sums, shown = jax.device_get(jax.jit(sessions, static_argnums=(0, 1))(world, act, params, key, who))
    state, live, seen = world.reset(jax.random.fold_in(key, 0), 6)._replace(who=who), [True] * 6, [0] * 30
    wanted = {name: [0.0] * 6 for name in Sums._fields}
    step, policy = jax.jit(world.step), jax.jit(lambda *given: act(params, given[0], world.observe(given[1])))
    like = jax.jit(lambda state: world.like(world.scores(state, state.items)))
    for t in range(12):
        of_policy, of_users = jax.random.split(jax.random.fold_in(key, t + 1))
        slates = np.asarray(policy(of_policy, state))
        chance, items = np.asarray(like(state)), np.asarray(state.items)
        state, response = step(of_users, state, jnp.asarray(slates))
        for user in range(6):
            if not live[user]:
                continue
            relevant = {place for place in range(8) if chance[user, place] >= 0.5}
            hits = len(relevant & set(slates[user].tolist()))
            wanted["slates"][user] += 1
            wanted["clicks"][user] += bool(response.clicked[user].any())
            wanted["reward"][user] += float(response.reward[user])
            precision = hits / 3
            wanted["precision"][user] += precision
            if relevant:
                recall = hits / len(relevant)
                wanted["findable"][user] += 1
                wanted["recall"][user] += recall
                wanted["f1"][user] += 2 * precision * recall / (precision + recall) if hits else 0
            for place in slates[user]:
                seen[items[user, place]] += 1
            live[user] = not bool(response.done[user])
    assert shown.tolist() == seen
    for name, values in wanted.items():
        np.testing.assert_allclose(getattr(sums, name), values, rtol=1e-5, err_msg=name)


def test_users_are_means_over_their_sessions() -> None:
    two = [np.array(x, float) for x in ([2, 3, 1, 1], [1, 2, 0, 1], [0.5, 1, 0, 1], [1, 1, 0, 0], [1, 0.5, 0, 0])]
    found = by_user(Sums(*two, np.array([0.5, 0.5, 0, 0]), np.array([2, 1, 0, 0])), 2)
    assert found["ctr"].tolist() == [3 / 5, 1 / 2]
    assert found["reward"].tolist() == [1.5 / 5, 1 / 2]
    assert found["return"].tolist() == [0.75, 0.5]
    assert found["precision"].tolist() == [2 / 5, 0]
    assert found["recall"][0] == 0.5
    assert np.isnan([found["recall"][1], found["f1"][1]]).all()  # nothing relevant was ever there


def test_users_train_or_test() -> None:
    fitted = made_up()
    train, test = parts(fitted, 0.3, 1)
    both = np.concatenate([train.user, test.user])
    assert (len(train.user), len(test.user)) == (6, 3)
    np.testing.assert_array_equal(np.unique(both, axis=0), np.unique(fitted.user, axis=0))
    with pytest.raises(InputError, match="--test-share 0: of 9 users 0 would test"):
        parts(fitted, 0.0, 1)


def test_the_script_trains_and_compares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = replace(before_after.AGENT, layers=(8,), users=4, batch=8, remembered=20, warmup=10)
    monkeypatch.setattr(before_after, "AGENT", small)
    csv = write_small_csv(tmp_path / "small.csv")
    flags = ["--data", str(csv), *FLAGS, "--steps", "80", "--seeds", "2", "--sessions", "2", "--out", str(tmp_path)]
    flags += ["--runs", str(tmp_path / "trainings"), "--devices", "2"]
    before_after.script(flags)
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["machine"]["devices"] == 2
    assert (record["train_users"], record["test_users"], record["agent"]["target"]) == (24, 6, "T")
    for of in record["policies"].values():
        assert 0 < of["coverage"]["mean"] <= 1
        for name in METRICS:
            assert of["metrics"][name]["mean"] == pytest.approx(np.mean(of["by_seed"][name]), abs=1e-6)
    tests = {(*of["pair"], of["metric"]): of for of in record["tests"]}
    assert set(tests) == {(*pair, metric) for pair in before_after.PAIRS for metric in METRICS}
    means = [record["policies"][name]["metrics"]["return"]["mean"] for name in (AFTER, BEFORE)]
    gap = tests[AFTER, BEFORE, "return"]
    assert gap["difference"] == pytest.approx(means[0] - means[1])
    assert gap["over_seeds"][0] < gap["difference"] < gap["over_seeds"][1]
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert "SlateQ after less SlateQ before: return" in capsys.readouterr().out


def test_bad_input_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--seeds 0"):
        before_after.script(["--seeds", "0"])
    csv = write_small_csv(tmp_path / "small.csv")
    with pytest.raises(InputError, match="no policy 'QL'"):
        before_after.script(["--data", str(csv), "--policy", "QL"])


def test_a_share_ends_at_1() -> None:
    asked = {"mean": 0.9, "low": 0.6, "high": 1.2, "seeds": 3}
    assert before_after._of_share(asked) == {**asked, "high": 1.0}
    assert before_after._of_share({**asked, "low": -0.1})["low"] == 0.0
    alone = {"mean": 0.9, "low": None, "high": None, "seeds": 1}
    assert before_after._of_share(alone) == alone
