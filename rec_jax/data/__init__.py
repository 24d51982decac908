"""Logs and catalogues: loaders, the registry of known sets, preparation, splits."""
