"""Client side of the service: find it, start it, ask it. Never imports the service itself."""
