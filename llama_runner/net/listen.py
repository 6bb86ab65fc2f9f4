"""Opening listening sockets ourselves, so that a busy port is an error with a name and not an exit."""

import errno
import socket
import sys
from typing import Final

from llama_runner.core.errors import ConfigError, PortInUseError, UsageError

# What the kernel queues while a start, a stall or a crowd keeps us from accepting: a connection that does not
# fit tries again a second later.
BACKLOG: Final = 4096
# Windows says EACCES for a port that is exclusively somebody else's.
_BUSY: Final = frozenset({errno.EADDRINUSE, errno.EACCES} if sys.platform == "win32" else {errno.EADDRINUSE})


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, an IPv6 host in brackets; port 0: any free one. Raises UsageError."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise UsageError(
            f"{text[:100]!r} is not HOST:PORT.",
            "Give it as 127.0.0.1:8035 or [::1]:8035; port 0 takes any free one.",
        )
    return host, int(port)


def listen_tcp(host: str, port: int) -> socket.socket:
    """A listening TCP socket. The caller closes it.

    Raises:
        PortInUseError: Somebody else has the port, or it may not be taken.
        ConfigError: The host is not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, because connections inherit it and asyncio turns Nagle's algorithm off only where TCP is named.
    # With it, every token after a connection's first answer waits for the one before it to be acknowledged:
    # 40 ms and more.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        _claim(listener)
        if family == socket.AF_INET6:
            # Else "::" takes IPv4 as well, on some systems, and who calls has an address of neither kind.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        # At once: on Linux two sockets may bind one port as long as neither listens.
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno in _BUSY:
            raise PortInUseError(f"Port {port} is in use.", "Choose another port.") from error
        raise ConfigError(
            f"{host}:{port} cannot be listened on: {error.strerror}.", "Use 127.0.0.1 as the host."
        ) from error
    return listener


def port_of_socket(listener: socket.socket) -> int:
    """The port a bound socket has."""
    port: int = listener.getsockname()[1]
    return port


def _claim(listener: socket.socket) -> None:
    if sys.platform == "win32":
        # Without it another program can bind over ours and receive what was meant for us.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        # A service that just ended leaves connections in TIME_WAIT; they must not block the next one.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
