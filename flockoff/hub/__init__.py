"""The hub adapter: the only package that imports huggingface_hub.

Importing it is cheap: huggingface_hub itself (half a second) is loaded at the first request.
"""

from flockoff.hub.client import HubClient, cached_base_model
from flockoff.hub.datasets import DatasetCache, cached_dataset
from flockoff.hub.retries import Patience
from flockoff.hub.rights import require_write
from flockoff.hub.surroundings import steering

__all__ = [
    "DatasetCache",
    "HubClient",
    "Patience",
    "cached_base_model",
    "cached_dataset",
    "require_write",
    "steering",
]
