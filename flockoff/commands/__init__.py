"""What the ``flockoff`` command offers to those who mine, validate and look on: a module for each."""
