"""Training in chunks, on one that is a count: cut off and gone on with, by seed, and where it diverges."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest
from flax import struct

from rec_jax.errors import Diverged, InputError
from rec_jax.policies.slateq import SlateQ
from rec_jax.policies.training import name_of, placed, train
from rec_jax.train.checkpoints import Checkpoints

KEY = jax.random.key(0)


@struct.dataclass
class Count:
    step: Any
    params: Any


def first(seeds: int = 0) -> Count:
    shape = (seeds,) if seeds else ()
    return Count(jnp.zeros(shape, jnp.int32), {"sum": jnp.zeros(shape)})


@jax.jit
def chunk(state: Count, key: Any, steps: Any) -> Count:
    """Adds up the numbers of the steps: how they are cut must not matter."""
    after = state.step + steps
    added = (after * (after + 1) - state.step * (state.step + 1)) / 2
    return Count(after, {"sum": state.params["sum"] + added})


def test_chunks_are_heard_and_the_last_one_is_what_is_left() -> None:
    heard = list[tuple[int, float]]()
    state = train(
        first(), chunk, KEY, 10, every=4, heard=lambda step, of: heard.append((step, of.params["sum"].item()))
    )
    assert heard == [(4, 10.0), (8, 36.0), (10, 55.0)]
    assert state.params["sum"].item() == 55
    by_tenths = list[int]()
    train(first(3), chunk, KEY, 25, heard=lambda step, of: by_tenths.append(step))
    assert by_tenths == [3, 6, 9, 12, 15, 18, 21, 24, 25]


@pytest.mark.parametrize("seeds", [0, 3])
def test_what_was_cut_off_goes_on_and_what_is_done_is_not_made_again(tmp_path: Path, seeds: int) -> None:
    class CutOffError(Exception):
        pass

    def cut(step: int, state: Count) -> None:
        if step == 8:  # heard before it is saved
            raise CutOffError

    with pytest.raises(CutOffError), closing(Checkpoints(tmp_path / "run")) as store:
        train(first(seeds), chunk, KEY, 10, every=4, store=store, heard=cut)
    for expected in ([8, 10], []):
        heard = list[int]()
        with closing(Checkpoints(tmp_path / "run")) as store:
            state = train(
                first(seeds), chunk, KEY, 10, every=4, store=store, heard=lambda step, of, to=heard: to.append(step)
            )
        assert heard == expected
        assert set(jnp.ravel(state.params["sum"]).tolist()) == {55.0}


def test_a_parameter_that_is_not_finite_ends_it(tmp_path: Path) -> None:
    def bad(state: Count, key: Any, steps: Any) -> Count:
        after = chunk(state, key, steps)
        return after.replace(params={"sum": jnp.where(after.step > 4, jnp.nan, after.params["sum"])})  # type: ignore[attr-defined]

    with pytest.raises(Diverged, match="NaN or infinite by step 8"), closing(Checkpoints(tmp_path / "run")) as store:
        train(first(), bad, KEY, 12, every=4, store=store)
    with closing(Checkpoints(tmp_path / "run")) as store:
        assert store.latest == 4


def test_names_tell_what_has_a_say_and_the_data() -> None:
    agent = SlateQ()
    other = SlateQ(discount=0.5)
    names = {name_of(agent, "a"), name_of(agent, "b"), name_of(other, "a"), name_of(agent, other), name_of(agent)}
    assert len(names) == 5
    assert name_of(agent, "a", without=("discount",)) == name_of(other, "a", without=("discount",))


@dataclass(frozen=True)
class Agent:
    users: int = 6


class Functions(NamedTuple):
    init: Any
    chunk: Any


def counting(agent: Agent, *, axis: str | None) -> Functions:
    """Each device adds its number, from 1, times its users, a step; the parameter is the mean over devices."""

    def more(state: Count, key: Any, steps: Any) -> Count:
        number = 1 if axis is None else 1 + jax.lax.axis_index(axis)
        added = steps * number * agent.users + jax.random.key_data(key)[-1].astype(jnp.float32)
        added = added if axis is None else jax.lax.pmean(added, axis)
        return Count(state.step + steps, {"sum": state.params["sum"] + added})

    return Functions(lambda key: Count(jnp.int32(0), {"sum": jnp.float32(0)}), more)


@pytest.mark.parametrize(("devices", "each"), [(1, 6), (2, 3)])
def test_devices_share_users_out_and_seeds_train_at_once(tmp_path: Path, devices: int, each: int) -> None:
    """4 steps of (1 + ... + devices) / devices times each one's users, in two chunks, each of which adds the key."""
    keys = jnp.stack([jax.random.key(seed) for seed in (0, 5, 7)])
    on = placed(Agent(), counting, devices, seeds=True)
    per_step = each * (devices + 1) / 2
    for steps in (2, 4):  # the second time from what is saved
        with closing(Checkpoints(tmp_path / "run")) as store:
            state = train(on.init(keys), on.chunk, keys, steps, every=2, store=store, put=on.put)
        wanted = [steps * per_step + steps / 2 * seed for seed in (0, 5, 7)]
        assert on.one(state).params["sum"].tolist() == wanted
        assert state.params["sum"].tolist() == (wanted if devices == 1 else [wanted] * devices)
    alone = placed(Agent(), counting, devices)
    assert alone.one(alone.chunk(alone.init(keys[1]), keys[1], jnp.int32(1))).params["sum"] == per_step + 5


def test_what_cannot_be_shared_is_refused() -> None:
    with pytest.raises(InputError, match="users 6 cannot be shared evenly by 4 devices"):
        placed(Agent(), counting, 4)
    with pytest.raises(InputError, match="--devices 99"):
        placed(Agent(), counting, 99)


def test_a_training_that_would_not_go_on_is_refused() -> None:
    on = placed(Agent(), counting)
    with pytest.raises(InputError, match="every 0: expected at least 1 step"):
        train(on.init(jax.random.key(0)), on.chunk, jax.random.key(0), 4, every=0)
