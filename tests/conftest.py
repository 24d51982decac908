"""Four virtual CPU devices, the compilation cache, and the data that many tests share."""

import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.expanduser("~/.cache/rec_jax/compiled"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("WANDB_MODE", "offline")

from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from rec_jax.data.interactions import Dataset
from rec_jax.data.registry import DEFAULT_FOLDER, load
from rec_jax.workers import forget_programs
from tests.helpers import small_dataset

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def compiled_quickly(request: pytest.FixtureRequest) -> None:
    """The compiler's optimisations are most of a test's time, but for those that run many steps.

    What the library compiles once for all (a baseline's rounds) is as the first test of a worker with those shapes had
    it: a file whose tests share it is marked as a whole.
    """
    jax.config.update("jax_disable_most_optimizations", request.node.get_closest_marker("many_steps") is None)


@pytest.fixture(scope="module", autouse=True)
def programs_forgotten() -> Iterator[None]:
    """The tests of a worker compile more programs than a process can hold."""
    yield
    forget_programs()


@pytest.fixture(scope="session")
def ml_100k() -> Dataset:
    """The real MovieLens-100K, fetched once into the user's cache."""
    return load("ml-100k", DEFAULT_FOLDER)


@pytest.fixture
def small() -> Dataset:
    """30 users, 20 items, with a pattern to learn."""
    return small_dataset()
