"""Taking the control port: only on this machine, and with a name for whoever has it already."""

import ipaddress
import socket
from collections.abc import Iterable
from typing import Final

from llama_runner.core.errors import ConfigError, PortInUseError
from llama_runner.net.gate import loopback_hosts, named_hosts
from llama_runner.net.listen import listen_tcp
from llama_runner.system.identity import ListenerInfo, listener_of
from llama_runner.system.interfaces import interface_addresses

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
    if not is_loopback_host(host):
        raise ConfigError(
            f"{who} is not opened on {host[:100]!r}: other machines could start programs here.",
            "Use 127.0.0.1, ::1 or localhost.",
        )


def is_loopback_host(host: str) -> bool:
    """Whether only this machine reaches a listener bound there; asks no name server."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback and "%" not in host
    except ValueError:
        return False


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
    """`host` as it stands in a URL that works on this machine: an address, which nobody has to look up."""
    address = {"localhost": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{address}]" if ":" in address else address


def allowed_hosts(host: str, port: int, more: Iterable[str] = ()) -> frozenset[str]:
    """The values of `Host` that mean a listener bound to `host`.

    Args:
        more: Names that a person added, with a port where it is not the listener's own.
    """
    added = {name for name in more if ":" in name}
    names = (url_host(host), *(name for name in more if name not in added))
    return loopback_hosts(port) | named_hosts(names, port) | added


def urls_for_others(host: str, port: int) -> tuple[str, ...]:
    """Where other machines reach a listener bound to `host`, as far as this machine knows; sends nothing."""
    version = 6 if ":" in host else 4
    address = ipaddress.ip_address(host)
    found = [address]
    if address.is_unspecified:
        found = [ipaddress.ip_address(one.address) for one in interface_addresses()]
    return tuple(
        f"http://{url_host(str(one))}:{port}"
        for one in found
        if one.version == version and not one.is_loopback and not one.is_link_local
    )
