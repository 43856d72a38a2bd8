"""The ``flockoff`` command's subcommands, a module each."""
