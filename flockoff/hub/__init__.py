"""The hub adapter: the only package that imports huggingface_hub.

Importing it is cheap: huggingface_hub itself (half a second) is loaded at the first request. The
validator's store of datasets is ``flockoff.hub.datasets``.
"""

from flockoff.hub.client import HubClient, cached_base_model
from flockoff.hub.retries import Patience
from flockoff.hub.rights import require_write

__all__ = [
    "HubClient",
    "Patience",
    "cached_base_model",
    "require_write",
]
