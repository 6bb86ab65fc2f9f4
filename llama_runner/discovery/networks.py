"""What a scan may look at (safety R10): typed hosts, whole networks of one's own, nothing public by range.

Pure rules but for `own_networks`; sends nothing.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from llama_runner.core.errors import UsageError
from llama_runner.core.settings import DiscoverySettings
from llama_runner.net.addresses import host_of, parse_server_url, port_of
from llama_runner.system.interfaces import InterfaceAddress, interface_addresses

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# R10: more than this is no longer one's own network.
MAX_HOSTS: Final = 1024
# Of an interface's own network no more than this is offered: its neighbours, not the company.
MIN_OWN_PREFIX: Final = 24
# ::1 too, as some servers listen only there.
THIS_MACHINE: Final = ("127.0.0.1", "::1")

_PRIVATE: Final[tuple[Network, ...]] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    )
)
# RFC 6598: a provider's other customers, or the members of one's own VPN; only its owner knows.
_SHARED: Final = ipaddress.ip_network("100.64.0.0/10")
_HINT: Final = "Give networks as 192.168.1.0/24; hosts elsewhere are typed one by one."


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """What one scan looks at; made by `plan_scan`, which checks it.

    Attributes:
        hosts: Every host, once, those of the networks included: addresses, and names as typed.
        networks: The networks among them, as shown to the person who agrees.
        ports: Looked at on every host.
        browse: Whether the networks are also asked by mDNS what they offer; looks at any port they name.
        avoided: Networks that nothing found on the way may lead into ("never again").
    """

    hosts: tuple[str, ...]
    networks: tuple[str, ...]
    ports: tuple[int, ...]
    connect_timeout_s: float
    browse: bool = False
    avoided: tuple[str, ...] = ()

    @property
    def connects(self) -> int:
        """How many host-port pairs that is."""
        return len(self.hosts) * len(self.ports)

    @property
    def is_this_machine(self) -> bool:
        """Whether nothing outside this machine is asked."""
        return all(is_loopback_host(host) for host in self.hosts)

    @property
    def wants_a_yes(self) -> bool:
        """Whether it asks machines that nobody named one by one (R10)."""
        return any(not ipaddress.ip_network(text).is_loopback for text in self.networks)

    def covers(self, host: str) -> bool:
        """Whether a host is one of a whole network."""
        return is_within(host, [ipaddress.ip_network(text) for text in self.networks])


@dataclass(frozen=True, slots=True)
class Interface:
    """A network that this machine is part of, as far as a scan of it goes."""

    name: str
    address: str
    network: str


def plan_scan(
    settings: DiscoverySettings,
    *,
    hosts: Sequence[str] = (),
    networks: Sequence[str] = (),
    ports: Sequence[int] | None = None,
    connect_timeout_s: float | None = None,
    browse: bool = True,
) -> ScanPlan:
    """A scan of typed hosts and networks; of this machine when there are none. Nothing is sent.

    Args:
        hosts: Addresses or names, public ones too: a person typed each.
        networks: In CIDR form, private ones only; host bits are ignored.
        ports: Instead of those of the settings.
        browse: Whether the networks may be asked by mDNS as well. Without networks there is nobody to ask.

    Raises:
        UsageError: Something is no host, network or port, is not to be scanned, or it is too much.
    """
    # Before anything is spread out: a wide network would fill the memory.
    chosen = [_network(text, settings) for text in networks]
    avoided = [ipaddress.ip_network(text, strict=False) for text in settings.never_scan]
    typed = [_typed_host(text, avoided) for text in hosts]
    if not chosen and not typed:
        typed = [host for host in THIS_MACHINE if not is_within(host, avoided)]
    found = dict.fromkeys(typed)
    for network in chosen:
        found.update(dict.fromkeys(_hosts_of(network, avoided)))
    _check_count(len(found))
    return ScanPlan(
        hosts=tuple(found),
        networks=tuple(dict.fromkeys(str(network) for network in chosen)),
        ports=_ports(settings.ports if ports is None else ports),
        connect_timeout_s=_timeout(connect_timeout_s or settings.connect_timeout_s),
        browse=browse and bool(chosen),
        avoided=tuple(str(network) for network in avoided),
    )


def own_networks() -> tuple[Interface, ...]:
    """The private networks that this machine is part of, at most a /24 of each, in the system's order."""
    return networks_of(interface_addresses())


def networks_of(addresses: Iterable[InterfaceAddress]) -> tuple[Interface, ...]:
    """Those among `addresses` that a scan may look around in.

    IPv6 networks are left out: the smallest usual one has more addresses than could ever be tried.
    """
    found: list[Interface] = []
    for entry in addresses:
        address = ipaddress.ip_address(entry.address)
        if address.version == 6 or address.is_loopback or entry.prefix >= 31:
            continue
        prefix = max(entry.prefix, MIN_OWN_PREFIX)
        network = ipaddress.ip_network((entry.address, prefix), strict=False)
        if _is_subnet(network, (*_PRIVATE, _SHARED)):
            found.append(Interface(entry.interface, entry.address, str(network)))
    return tuple(found)


def interfaces_in(networks: Iterable[Network], own: Iterable[InterfaceAddress]) -> tuple[str, ...]:
    """Our own addresses in some networks: where their machines can be asked all at once. IPv4 only.

    Not the loopback: nobody else listens there, and its servers are found without asking around.
    """
    asked = [network for network in networks if network.version == 4]
    found: list[str] = []
    for entry in own:
        interface = ipaddress.ip_interface(f"{entry.address}/{entry.prefix}")
        if interface.version == 4 and not interface.is_loopback:
            found += [entry.address] * any(interface.network.overlaps(network) for network in asked)
    return tuple(found)


def is_loopback_host(host: str) -> bool:
    """Whether a host is this machine by its spelling."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_address(host: str) -> bool:
    """Whether a host is an IP address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_within(host: str, networks: Iterable[Network]) -> bool:
    """Whether an address is in one of the networks; a name never is."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in networks)


def _network(text: str, settings: DiscoverySettings) -> Network:
    """D17: a network that may be scanned, before one of its hosts is written down."""
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError as error:
        raise UsageError(f"{text[:60]!r} is not a network.", _HINT) from error
    allowed = (*_PRIVATE, _SHARED) if settings.shared_addresses else _PRIVATE
    if _is_subnet(network, (_SHARED,)) and not settings.shared_addresses:
        raise UsageError(
            f"{network} belongs to the addresses that providers and VPNs share.",
            "Set discovery.shared_addresses if it is your own VPN, or type its hosts one by one.",
        )
    if not _is_subnet(network, allowed):
        raise UsageError(f"{network} is not a private network; only those are scanned as a whole.", _HINT)
    # Two more than its hosts, of which the first and the last address are none.
    _check_count(network.num_addresses - 2)
    return network


def _is_subnet(network: Network, allowed: Iterable[Network]) -> bool:
    # mypy cannot know that both are of one version.
    return any(
        network.version == outer.version and network.subnet_of(outer)  # type: ignore[arg-type]
        for outer in allowed
    )


def _hosts_of(network: Network, avoided: Sequence[Network]) -> list[str]:
    hosts = [str(host) for host in network.hosts() if not any(host in other for other in avoided)]
    if not hosts:
        raise UsageError(f"{network} is among the networks that are never scanned.", _NEVER_HINT)
    return hosts


_NEVER_HINT: Final = "Take it off discovery.never_scan in Settings first."


def _typed_host(text: str, avoided: Sequence[Network]) -> str:
    host = plain_host(text.strip())
    if is_within(host, avoided):
        raise UsageError(f"{host} is among the addresses that are never scanned.", _NEVER_HINT)
    return host


def plain_host(text: str) -> str:
    """A typed host in its one plain form: no port, no scheme. Raises UsageError."""
    bare_ipv6 = text.count(":") > 1 and not text.startswith("[")
    url = parse_server_url(f"http://[{text}]" if bare_ipv6 else f"http://{text}")
    host = host_of(url)
    if url != (f"http://[{host}]" if ":" in host else f"http://{host}"):
        raise UsageError(
            f"{text[:60]} names a port as well ({port_of(url)}).",
            "Give hosts alone, and ports by themselves.",
        )
    if not _is_one_machine(host):
        raise UsageError(f"{host} is no machine's address.", "Give the address or the name of one machine.")
    return host


def _is_one_machine(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return True
    reserved = address.version == 4 and address.is_reserved
    return not (address.is_unspecified or address.is_multicast or reserved)


def _ports(ports: Sequence[int]) -> tuple[int, ...]:
    if not ports:
        raise UsageError("There is no port to look at.", "Name at least one.")
    for port in ports:
        if not 1 <= port <= 65535:
            raise UsageError(f"{port} is not a port.", "Ports go from 1 to 65535.")
    return tuple(dict.fromkeys(ports))


def _timeout(seconds: float) -> float:
    if not 0 < seconds <= 60:
        raise UsageError("The connect timeout must be more than 0 and at most 60 seconds.", "0.5 is usual.")
    return seconds


def _check_count(hosts: int) -> None:
    if hosts > MAX_HOSTS:
        raise UsageError(
            f"{hosts:,} hosts are too many for one scan.",
            f"Name at most {MAX_HOSTS:,}: a /22, or single hosts.",
        )
