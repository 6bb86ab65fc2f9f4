"""The same prompt to several models, side by side."""
