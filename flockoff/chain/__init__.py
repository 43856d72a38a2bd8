"""The chain adapter: the only package that imports the Bittensor SDK.

Importing it is cheap; the SDK, which takes a second or two, is imported on first use.
"""

from flockoff.chain.endpoint import resolve_endpoint
from flockoff.chain.subtensor import SubtensorChain, open_chain
from flockoff.chain.wallets import WalletRef, hotkey_address, load_wallet

__all__ = ["SubtensorChain", "WalletRef", "hotkey_address", "load_wallet", "open_chain", "resolve_endpoint"]
