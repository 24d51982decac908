"""Agents that act: which slate a user is shown, and how that is learnt."""
