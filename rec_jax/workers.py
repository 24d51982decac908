"""Compiled programs side by side: XLA runs a loop on one core of a CPU, so the cores share its batches."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import jax

T = TypeVar("T")
U = TypeVar("U")


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
