"""Programs side by side: results in order, the first alone, errors as they are; and how they are dropped."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from rec_jax import workers as module
from rec_jax.workers import forget_programs, side_by_side, workers


def test_results_come_in_order_whatever_ends_first() -> None:
    def slow(n: int) -> int:
        time.sleep(0.02 * (5 - n % 5))
        return n * n

    assert side_by_side(slow, range(12)) == [n * n for n in range(12)]


def test_the_first_runs_alone_and_the_rest_together() -> None:
    meeting = threading.Barrier(min(2, workers()))

    def each(n: int) -> str:
        if n > 0:
            meeting.wait(timeout=20)  # broken, and so an error, if the others did not run at once
        return threading.current_thread().name

    names = side_by_side(each, range(1 + 2 * meeting.parties))
    assert names[0] == threading.current_thread().name
    assert names[0] not in names[1:]


def test_an_error_is_the_callers() -> None:
    def bad(n: int) -> int:
        if n == 3:
            raise ValueError("the third")
        return n

    with pytest.raises(ValueError, match="the third"):
        side_by_side(bad, range(5))


def test_programs_are_dropped_only_where_their_maps_near_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps, limit = tmp_path / "maps", tmp_path / "max_map_count"
    maps.write_text("a map\n" * 50)
    for name, path in (("MAPS", maps), ("MOST_MAPS", limit)):
        monkeypatch.setattr(module, name, path)
    traced = []

    @jax.jit
    def doubled(x: float) -> float:
        traced.append(x)
        return 2 * x

    for most, dropped, times in ((1000, False, 1), (101, False, 1), (100, True, 2)):
        doubled(1.0)
        limit.write_text(f"{most}\n")
        assert forget_programs() is dropped
        assert doubled(2.0) == 4
        assert len(traced) == times
    limit.unlink()  # another system than Linux
    assert forget_programs() is False


def test_programs_are_kept_unless_jax_was_told_where(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, object] = {}
    module.keep_programs()
    assert told == {}  # the tests' own folder
    monkeypatch.setattr(
        module, "jax", SimpleNamespace(config=SimpleNamespace(jax_compilation_cache_dir=None, update=told.__setitem__))
    )
    module.keep_programs()
    assert told["jax_compilation_cache_dir"] == str(Path("~/.cache/rec_jax/compiled").expanduser())
