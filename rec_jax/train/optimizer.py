"""The optimiser of an experiment, from optax: clipping, the update rule, warm-up and decay."""

import optax

from rec_jax.config import Optimization
from rec_jax.errors import InputError


def adam(config: Optimization) -> dict[str, float]:
    """Adam's other constants, as its authors recommend them, but for the one that is an option.

    InputError: it is 1, with which nothing would be forgotten.
    """
    if not 0 <= config.beta2 < 1:
        raise InputError(f"--beta2 {config.beta2}: expected a number from 0 to below 1")
    return {"b1": 0.9, "b2": config.beta2, "eps": 1e-8}


def schedule(config: Optimization, steps_per_epoch: int) -> optax.Schedule:
    """The learning rate by step: a linear rise over the warm-up, then constant, linear or cosine decay to 0.

    InputError: a decay without a length, or a length without a decay.
    """
    rate, length = config.learning_rate, config.decay_epochs * steps_per_epoch
    if (config.decay == "none") != (length == 0):
        raise InputError(
            f"--decay {config.decay} with --decay-epochs {config.decay_epochs}: "
            "a decay needs the number of epochs over which it falls, and no decay needs none"
        )
    after = {
        "none": lambda: optax.constant_schedule(rate),
        "linear": lambda: optax.linear_schedule(rate, 0.0, length),
        "cosine": lambda: optax.cosine_decay_schedule(rate, length),
    }[config.decay]()
    if config.warmup_steps == 0:
        return after
    rise = optax.linear_schedule(rate / config.warmup_steps, rate, config.warmup_steps - 1)
    return optax.join_schedules([rise, after], [config.warmup_steps])


def optimizer(config: Optimization, steps_per_epoch: int) -> optax.GradientTransformation:
    """Clipping, then the update rule at the scheduled rate. InputError: numbers out of range."""
    for name in ("learning_rate", "warmup_steps", "decay_epochs", "clip_norm", "weight_decay"):
        if getattr(config, name) < 0 or (name == "learning_rate" and config.learning_rate == 0):
            raise InputError(f"--{name.replace('_', '-')} {getattr(config, name)}: expected a positive number")
    if config.weight_decay and config.optimizer != "adamw":
        raise InputError(f"--weight-decay needs --optimizer adamw, not {config.optimizer}")
    rate = schedule(config, steps_per_epoch)
    rule = {
        "adam": lambda: optax.adam(rate, **adam(config)),
        "adamw": lambda: optax.adamw(rate, weight_decay=config.weight_decay, **adam(config)),
        "sgd": lambda: optax.sgd(rate),
    }[config.optimizer]()
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), rule) if config.clip_norm else rule
