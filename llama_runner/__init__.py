"""Llama Runner: the desktop control room for local language models."""

__version__ = "0.1.0"
