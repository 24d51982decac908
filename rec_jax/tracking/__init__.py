"""The run directory, the result record and its birth certificate, Weights & Biases beside them."""
