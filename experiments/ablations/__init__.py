"""One switch a script, with its plot."""
