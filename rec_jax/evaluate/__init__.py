"""Protocols, metrics and intervals. Evaluation sees scoring functions and never asks who made them."""
