"""He et al., "LightGCN", SIGIR 2020: Gowalla, full ranking, within a stated budget."""
