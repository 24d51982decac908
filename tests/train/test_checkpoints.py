"""Checkpoints: two are kept, damage is found and named, the one before is taken."""

import logging
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rec_jax.errors import InputError
from rec_jax.train.checkpoints import Checkpoints


def state(value: float) -> Any:
    w = np.random.default_rng(int(value)).normal(size=(200, 30))  # random, so that it is not compressed away
    return {"w": w.astype(np.float32), "step": np.array(int(value), np.int32)}


def saved(folder: Path, *steps: int) -> None:
    with closing(Checkpoints(folder)) as store:
        for step in steps:
            store.save(step, state(step))


def largest_file(folder: Path) -> Path:
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def test_the_last_two_are_kept_and_the_newest_is_restored(tmp_path: Path) -> None:
    saved(tmp_path / "c", 1, 2, 3)
    with closing(Checkpoints(tmp_path / "c")) as store:
        found = store.restore(state(0))
        assert store.latest == 3
    np.testing.assert_array_equal(found["w"], state(3)["w"])
    assert int(found["step"]) == 3
    assert sorted(p.name for p in (tmp_path / "c").iterdir() if p.name.isdigit()) == ["2", "3"]


def test_an_array_of_no_numbers_comes_back(tmp_path: Path) -> None:
    nothing = {"seen": np.zeros((4, 0), np.float32), **state(1)}
    with closing(Checkpoints(tmp_path / "c")) as store:
        store.save(1, nothing)
    with closing(Checkpoints(tmp_path / "c")) as store:
        found = store.restore({"seen": np.zeros((4, 0), np.float32), **state(0)})
    assert found["seen"].shape == (4, 0)
    np.testing.assert_array_equal(found["w"], nothing["w"])


@pytest.mark.parametrize("damage", ["truncated", "flipped", "removed"])
def test_a_damaged_newest_falls_back_and_says_so(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    saved(tmp_path / "c", 5, 6)
    victim = largest_file(tmp_path / "c" / "6" / "state")
    content = victim.read_bytes()
    if damage == "truncated":
        victim.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        middle = len(content) // 2
        victim.write_bytes(content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :])
    else:
        victim.unlink()
    with closing(Checkpoints(tmp_path / "c", read_only=True)) as store:
        assert int(store.restore(state(0))["step"]) == 5
    assert (tmp_path / "c" / "6").exists()  # reading deletes nothing
    caplog.clear()
    with caplog.at_level(logging.WARNING), closing(Checkpoints(tmp_path / "c")) as store:
        found = store.restore(state(0))
        assert store.latest == 5
        store.save(6, state(6))  # the damaged one is out of the way
    assert int(found["step"]) == 5
    assert "checkpoint 6" in caplog.text
    assert "is damaged" in caplog.text


def test_no_checkpoint_and_none_left(tmp_path: Path) -> None:
    with closing(Checkpoints(tmp_path / "none")) as store:
        assert store.restore(state(0)) is None
    saved(tmp_path / "c", 7)
    largest_file(tmp_path / "c" / "7" / "state").unlink()
    with closing(Checkpoints(tmp_path / "c")) as store, pytest.raises(InputError, match="none is left"):
        store.restore(state(0))
