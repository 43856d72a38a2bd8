"""Simulates many epochs with the real scoring and consensus, and noise in place of training."""
