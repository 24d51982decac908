"""Saito et al., "Open Bandit Dataset and Pipeline", NeurIPS 2021 (Datasets and Benchmarks)."""
