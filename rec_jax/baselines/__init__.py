"""Closed-form and neighbourhood recommenders: `fit(split) -> Scorer`, in numpy and JAX."""
