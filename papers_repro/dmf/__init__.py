"""Xue et al., "Deep Matrix Factorization Models for Recommender Systems", IJCAI 2017."""
