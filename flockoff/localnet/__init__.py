"""The local network: doubles of a Subtensor node and of the Hugging Face Hub, for development and tests."""
