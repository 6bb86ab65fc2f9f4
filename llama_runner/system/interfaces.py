"""The network interfaces of this machine and their addresses, the same on every system."""

import ipaddress
import socket
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """One address of one interface that is up.

    Attributes:
        prefix: How many leading bits its network has.
    """

    interface: str
    address: str
    prefix: int


def interface_addresses() -> tuple[InterfaceAddress, ...]:
    """Every IPv4 and IPv6 address of the interfaces that are up, in the system's order; sends nothing."""
    states = psutil.net_if_stats()
    found: list[InterfaceAddress] = []
    for name, addresses in psutil.net_if_addrs().items():
        if name not in states or not states[name].isup:
            continue
        for entry in addresses:
            if entry.family in (socket.AF_INET, socket.AF_INET6):
                # "fe80::1%eth0": the interface is told apart from the address.
                address = entry.address.partition("%")[0]
                found.append(InterfaceAddress(name, address, _prefix(address, entry.netmask)))
    return tuple(found)


def _prefix(address: str, netmask: str | None) -> int:
    """The length of a network mask; the whole address where the system names none it makes sense of."""
    whole = ipaddress.ip_address(address).max_prefixlen
    try:
        mask = int(ipaddress.ip_address((netmask or "").partition("%")[0]))
    except ValueError:
        return whole
    length = mask.bit_count()
    return length if mask == ((1 << length) - 1) << (whole - length) else whole
