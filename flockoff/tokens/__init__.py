"""Rows to tokens under the base model's own tokenizer and chat template, without torch or transformers."""

from flockoff.tokens.encoder import TokenizerEncoder, load_encoder

__all__ = ["TokenizerEncoder", "load_encoder"]
