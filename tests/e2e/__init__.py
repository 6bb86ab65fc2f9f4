"""The real window on a virtual screen, with a real engine and real models."""
