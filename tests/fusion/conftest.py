"""What every test of a fusion asks for."""

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits

from rec_jax.data.interactions import Dataset
from rec_jax.evaluate.protocol import Questions
from tests.fusion.helpers import split_and_valid


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """scikit-learn's threads wait for each other where other tests keep the cores busy."""
    with threadpool_limits(1):
        yield


@pytest.fixture
def valid(small: Dataset) -> Questions:
    return split_and_valid(small)[1]
