"""Compiled programs: side by side, for XLA runs a loop on one core of a CPU, and no more of them than fit."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import jax

T = TypeVar("T")
U = TypeVar("U")

COMPILED = Path("~/.cache/rec_jax/compiled")
"""Where compiled programs are kept between runs."""
MAPS, MOST_MAPS = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")
"""Where Linux tells the memory maps of this process, and how many a process may have (by default 65,530)."""


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers() -> int:
    """How many programs a process runs at once: as many as cores, or one where the devices are accelerators."""
    return cores() if jax.default_backend() == "cpu" else 1


def side_by_side(function: Callable[[T], U], given: Iterable[T]) -> list[U]:
    """`function` of each, in order; the first one alone, so that what it compiles is there for the others."""
    first, *rest = given
    with ThreadPoolExecutor(workers()) as pool:
        return [function(first), *pool.map(function, rest)]


def keep_programs() -> None:
    """Keep compiled programs between runs, unless JAX was told where: another start of a model is seconds faster."""
    if getattr(jax.config, "jax_compilation_cache_dir", None) is None:
        jax.config.update("jax_compilation_cache_dir", str(COMPILED.expanduser()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def forget_programs() -> bool:
    """Drop all compiled programs where their memory maps are half of what Linux allows; whether they were dropped.

    On a CPU each piece of a program has three maps. A process that trains model after model comes to the limit, where
    the next compilation ends it with a segmentation fault. What is needed again is compiled again.
    """
    if not (MAPS.exists() and MOST_MAPS.exists()):
        return False
    with MAPS.open("rb") as lines:
        count = sum(1 for _ in lines)
    if 2 * count < int(MOST_MAPS.read_text()):
        return False
    jax.clear_caches()
    return True
