"""Published tables run again, one folder a paper."""
