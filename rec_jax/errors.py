"""The errors a user can mend: their message says what is wrong, where, and how to put it right."""


class InputError(ValueError):
    """Bad input (a file, a row, an option): found before any work starts; scripts print it without a traceback."""


class UndefinedScore(ValueError):
    """A score is NaN: a ranking by it would be arbitrary."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during training, after the state was saved; says where."""


class Diverged(ArithmeticError):
    """The loss became NaN or infinite; names the step and the last checkpoint that is still good."""
