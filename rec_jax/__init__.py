"""rec_jax: recommender systems with large models and reinforcement learning, in JAX."""

__version__ = "0.1.0"
