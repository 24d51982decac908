"""Training: the step, the loop, devices, checkpoints, early stopping."""
