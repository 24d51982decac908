"""How a module is trained: what a batch is, and its loss. One objective a file."""
