"""Free ports on this machine."""

import socket


def pick_free_port(host: str = "127.0.0.1") -> int:
    """A port nobody listens on now. Another program may take it first: be ready to try again."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
