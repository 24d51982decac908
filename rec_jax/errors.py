"""The errors a user can mend: their message says what is wrong, where, and how to put it right."""


class InputError(ValueError):
    """Bad input (a file, a row, an option): found before any work starts; scripts print it without a traceback."""


class Diverged(ArithmeticError):
    """The loss became NaN or infinite; names the step and the last checkpoint that is still good."""
