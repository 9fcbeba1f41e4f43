"""Training by gradients: the loop, and the settings of a run."""
