"""Runnable questions, one a file: `python -m experiments` lists them."""
