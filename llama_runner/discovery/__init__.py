"""Finding model servers and remembering them in one registry."""
