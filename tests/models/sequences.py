"""What the tests of sequence models share: histories, parameters unlike one another, small layers in numpy."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rec_jax.models.base import Query
from rec_jax.models.sequence import SequenceModel


def query(rows: list[list[int]], width: int, times: list[list[int]] | None = None) -> Query:
    """Histories padded to `width`; times count up by 60 unless they are given."""
    history, when = np.full((len(rows), width), -1, np.int32), np.zeros((len(rows), width), np.int32)
    for place, row in enumerate(rows):
        history[place, : len(row)] = row
        when[place, : len(row)] = times[place] if times else 60 * np.arange(1, len(row) + 1)
    return Query(jnp.arange(len(rows)), None, jnp.asarray(history), jnp.asarray(when))


def drawn(module: SequenceModel, width: int = 2) -> Any:
    """Parameters with noise on all of them, so that zeros and ones of a first draw hide nothing."""
    asked = query([[0, 1]], width)
    draw = jax.jit(lambda key: module.init(key, method=lambda m: (m.states(asked), m.item_vectors())))
    both = draw(jax.random.key(1))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: x + 0.5 * rng.normal(size=x.shape).astype(np.float32), both)


def compiled(module: SequenceModel, method: str) -> Callable[..., Any]:
    """A method of the module, of (params, …): as one program, which costs less than its operations one by one."""
    return jax.jit(lambda params, *arguments: module.apply(params, *arguments, method=method))


def norm(x: np.ndarray, of: dict[str, Any], epsilon: float) -> np.ndarray:
    """Layer normalisation of one vector."""
    found = (x - x.mean()) / np.sqrt(x.var() + epsilon)
    return found * np.asarray(of.get("scale", 1)) + np.asarray(of.get("bias", 0))


def dense(x: np.ndarray, of: dict[str, Any]) -> np.ndarray:
    """x W + b."""
    return x @ np.asarray(of["kernel"]) + np.asarray(of.get("bias", 0))


def normal(module: nn.Module, *arguments: Any) -> Any:
    """Parameters from a standard normal distribution, for a module that is called with `arguments`."""
    params = jax.eval_shape(module.init, jax.random.key(0), *arguments)["params"]
    rng = np.random.default_rng(0)
    return {"params": jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), params)}
