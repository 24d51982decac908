"""Fields of configurations that came later than records of them: models and policies say so, `rec_jax.config` heeds."""

import dataclasses
from typing import Any


def added(default: Any) -> Any:
    """A field that came when runs were on record already: at its default it is left out of what is hashed, so that
    those runs keep their names, and can be gone on with.
    """
    return dataclasses.field(default=default, metadata={"added": True})


def hashed(field: dataclasses.Field[Any], value: Any) -> bool:
    """Whether the field with that value has a part in the hash."""
    return "added" not in field.metadata or value != field.default
