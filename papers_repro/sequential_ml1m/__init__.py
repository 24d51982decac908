"""He et al., "Neural Collaborative Filtering", WWW 2017."""
