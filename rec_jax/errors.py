"""The errors a user can mend: their message says what is wrong, where, and how to put it right."""

import difflib
import typing
from collections.abc import Callable, Iterable


def did_you_mean(
    name: str, known: Iterable[str], n: int = 3, cutoff: float = 0.6, shown: Callable[[str], str] = str
) -> str:
    """'did you mean this or that? ', each name as `shown`; nothing where no known name is near."""
    near = [shown(found) for found in difflib.get_close_matches(name, list(known), n=n, cutoff=cutoff)]
    return f"did you mean {' or '.join(near)}? " if near else ""


class InputError(ValueError):
    """Bad input (a file, a row, an option): found before any work starts; scripts print it without a traceback."""


def check_literal(what: str, given: object, literal: object) -> None:
    """InputError: `given` is none of the values of `literal`, a typing.Literal."""
    if given not in (known := typing.get_args(literal)):
        hint = did_you_mean(str(given), map(str, known))
        raise InputError(f"no {what} {given!r}: {hint}take {', '.join(map(str, known))}")


class UndefinedScore(ValueError):
    """A score is NaN: a ranking by it would be arbitrary."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during training, after the state was saved; says where."""


class Diverged(ArithmeticError):
    """The loss became NaN or infinite; names the step and the last checkpoint that is still good."""
