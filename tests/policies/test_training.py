"""Training in chunks, on one that is a count: cut off and gone on with, by seed, and where it diverges."""

from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import struct

from rec_jax.errors import Diverged
from rec_jax.policies.slateq import SlateQ
from rec_jax.policies.training import name_of, train
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
