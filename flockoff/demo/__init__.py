"""``flockoff demo``: one whole competition epoch on this machine, with real parts."""

from flockoff.demo.play import play_demo

__all__ = ["play_demo"]
