"""Taking the control port: only on this machine, and with a name for whoever has it already."""

import ipaddress
import socket
from typing import Final

from llama_runner.core.errors import ConfigError, PortInUseError
from llama_runner.net.listen import listen_tcp
from llama_runner.system.identity import ListenerInfo, listener_of

_HINT: Final = (
    "Choose another port with --control HOST:PORT or `config set service.control_port`, or stop it."
)
_FELL_BACK: Final = (
    "The control API took a free one instead; free that port or change service.control_port in Settings "
    "to have it always at the same place."
)


def check_loopback(who: str, host: str) -> None:
    """Raise ConfigError unless `host` is this machine only (C6): `who` starts programs.

    Args:
        who: Begins a sentence: "The control API".
    """
    if host == "localhost":
        return
    try:
        loopback = ipaddress.ip_address(host).is_loopback and "%" not in host
    except ValueError:
        loopback = False
    if not loopback:
        raise ConfigError(
            f"{who} is not opened on {host[:100]!r}: other machines could start programs here.",
            "Use 127.0.0.1, ::1 or localhost.",
        )


def claim_control_port(host: str, port: int, *, fall_back: bool) -> tuple[socket.socket, str | None]:
    """A listening socket, and a notice when it is not the wanted port.

    Args:
        fall_back: Take any free port when the wanted one is busy.

    Raises:
        ConfigError: The host is not this machine only.
        PortInUseError: Names the program that has the port (F12).
    """
    check_loopback("The control API", host)
    try:
        return listen_tcp(host, port), None
    except PortInUseError as error:
        busy = busy_sentence(port, listener_of(port))
        if not fall_back:
            raise PortInUseError(busy, _HINT) from error
        return listen_tcp(host, 0), f"{busy} {_FELL_BACK}"


def busy_sentence(port: int, listener: ListenerInfo | None) -> str:
    """Who has the port, as far as the system tells."""
    if listener is None or listener.pid is None:
        return f"Port {port} is in use by another program."
    name = listener.name or "a program"
    return f"Port {port} is in use by {name} (pid {listener.pid})."


def url_host(host: str) -> str:
    """`host` as it stands in a URL: an address in any case, so that no client has to look it up."""
    if host == "localhost":
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def allowed_hosts(host: str, port: int) -> frozenset[str]:
    """The values of `Host` that mean our control API, bound to `host`."""
    return frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]", url_host(host)))
