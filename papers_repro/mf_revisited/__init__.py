"""Rendle et al., "Neural Collaborative Filtering vs. Matrix Factorization Revisited", RecSys 2020."""
