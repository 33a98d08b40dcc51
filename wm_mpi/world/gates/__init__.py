"""Whether V and M are good enough to train C in."""
