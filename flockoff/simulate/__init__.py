"""The game, simulated: the real scoring and consensus over many epochs, with noise in place of training."""
