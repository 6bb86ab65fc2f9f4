"""Waking a machine that sleeps: which packet, and where to. Reckons only."""

import ipaddress
import re
from collections.abc import Iterable
from typing import Final

from llama_runner.core.errors import UsageError
from llama_runner.net.addresses import host_of
from llama_runner.system.interfaces import InterfaceAddress

# "Discard": no program listens there, and the network card reads along all the same.
WAKE_PORT: Final = 9
# To every machine of the network that this one's default route is in.
EVERYBODY: Final = "255.255.255.255"

_SEPARATED: Final = re.compile(r"[0-9a-f]{2}([:.-][0-9a-f]{2}){5}")
_PLAIN: Final = re.compile(r"[0-9a-f]{12}")
_CISCO: Final = re.compile(r"[0-9a-f]{4}(\.[0-9a-f]{4}){2}")


def parse_mac(text: str) -> str:
    """A hardware address as "aa:bb:cc:dd:ee:ff", however it is written.

    Raises:
        UsageError: It is none, or not that of one machine.
    """
    plain = text.strip().lower()
    if not any(form.fullmatch(plain) for form in (_SEPARATED, _PLAIN, _CISCO)):
        raise UsageError(f"{text[:40]!r} is not a hardware address.", "Write it as 00:11:22:aa:bb:cc.")
    octets = bytes.fromhex(re.sub("[:.-]", "", plain))
    if octets[0] & 1 or not any(octets):
        raise UsageError(
            f"{text[:40]!r} is the hardware address of no single machine.",
            "Read it off the machine itself, or off the router.",
        )
    return octets.hex(":")


def magic_packet(mac: str) -> bytes:
    """What a sleeping network card looks for: six times FF, then its own address sixteen times."""
    return b"\xff" * 6 + bytes.fromhex(mac.replace(":", "")) * 16


def wake_targets(base_url: str, interfaces: Iterable[InterfaceAddress]) -> tuple[str, ...]:
    """The broadcast addresses behind which the machine may sleep.

    That of each own network its address lies in; and everybody's, for a machine known by name.
    """
    targets = [EVERYBODY]
    try:
        address = ipaddress.IPv4Address(host_of(base_url))
    except ValueError:
        return tuple(targets)
    for entry in interfaces:
        if ":" in entry.address or entry.prefix >= 31:
            continue
        network = ipaddress.IPv4Network((entry.address, entry.prefix), strict=False)
        if address in network:
            targets.append(str(network.broadcast_address))
    return tuple(dict.fromkeys(targets))
