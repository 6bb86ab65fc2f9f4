"""Rules about addresses, without I/O: what a typed server address means, and how far away it is."""

import ipaddress
import re
from functools import lru_cache
from typing import Final
from urllib.parse import SplitResult, urlsplit

from llama_runner.core.errors import UsageError

# Longer than any name DNS allows (253) plus scheme, port and path.
MAX_URL_CHARS: Final = 2048
_HOST_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.IGNORECASE)
_NUMERIC_HOST: Final = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+))*\.?", re.IGNORECASE)
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
# What people paste after the address; the backends add their own paths.
_KNOWN_PATHS: Final = frozenset({"", "/", "/v1", "/v1/", "/api", "/api/", "/api/v1", "/api/v1/"})
_PRIVATE_NETWORKS: Final = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10")
)
_HINT: Final = "Give it as http://host:port, for example http://127.0.0.1:8080."


def parse_server_url(text: str) -> str:
    """The base URL a person means: scheme, host, port; no path, no trailing slash.

    A missing scheme is http. A trailing /v1 or /api is dropped. Whatever could be read in two ways is refused
    (safety D11): user information, backslashes, number forms of an address, control and wide characters.

    Raises:
        UsageError: The text is not one plain http or https address.
    """
    text = text.strip(" ")
    _check_characters(text)
    parts = _split(text if _SCHEME.match(text) else f"http://{text}")
    if parts.scheme not in ("http", "https"):
        raise UsageError(f"{parts.scheme}:// is not a kind of address that can be asked.", _HINT)
    if "@" in parts.netloc:
        raise UsageError(
            "An address with a user name or a password in it is not accepted.", "Give the key as the API key."
        )
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise UsageError("An address with ? or # in it is not accepted.", _HINT)
    if parts.path not in _KNOWN_PATHS:
        raise UsageError("An address with a path in it is not accepted.", _HINT)
    port = _port(parts.netloc)
    host = _host(parts.hostname or "")
    return f"{parts.scheme}://{host}" + ("" if port is None else f":{port}")


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError as error:
        raise UsageError("The address has brackets in it that hold no IPv6 address.", _HINT) from error


def _check_characters(text: str) -> None:
    if not text:
        raise UsageError("The address is empty.", _HINT)
    if len(text) > MAX_URL_CHARS:
        raise UsageError("The address is too long.", _HINT)
    if any(not 0x21 <= ord(character) <= 0x7E for character in text) or "\\" in text or "%" in text:
        raise UsageError("The address has characters in it that no address has.", _HINT)


def _port(netloc: str) -> int | None:
    """The port as written; None when there is none. `urlsplit` would accept an empty one."""
    host, colon, port = netloc.rpartition(":")
    if not colon or port.endswith("]"):
        return None
    if not host:
        raise UsageError("The address has no host.", _HINT)
    if ":" in host and not host.startswith("["):
        raise UsageError(
            "The address has more than one port.", "Write an IPv6 address in brackets: http://[::1]:80."
        )
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise UsageError(f"The port in the address is not a number from 1 to 65535: {port!r}.", _HINT)
    return int(port)


def _host(host: str) -> str:
    if not host:
        raise UsageError("The address has no host.", _HINT)
    if ":" in host:
        return f"[{_ipv6(host)}]"
    if _NUMERIC_HOST.fullmatch(host):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError as error:
            raise UsageError(f"{host} is not an IP address in its full form.", _HINT) from error
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_HOST_LABEL.fullmatch(label) for label in labels):
        raise UsageError(f"{host} is not a host name.", _HINT)
    return ".".join(labels).lower()


def _ipv6(host: str) -> str:
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError as error:
        raise UsageError(f"{host} is not an IPv6 address.", _HINT) from error
    if address.ipv4_mapped is not None or address.scope_id is not None:
        # The mapped form would get past every rule that looks at IPv4 networks.
        raise UsageError(
            f"{host} is a form of address that is not accepted.", "Give the plain IPv4 or IPv6 address."
        )
    return str(address)


def host_of(url: str) -> str:
    """The host of a normalised base URL, without brackets."""
    return urlsplit(url).hostname or ""


def port_of(url: str) -> int:
    """The port of a normalised base URL, the scheme's own where it names none."""
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def is_loopback(url: str) -> bool:
    """Whether the base URL is this machine by its spelling: 127/8, ::1, localhost. Asks no name server."""
    host = host_of(url)
    if host == "localhost" or host.endswith(".localhost"):
        return True
    return scope_of(host) == "loopback"


@lru_cache(maxsize=1024)
def scope_of(host: str) -> str:
    """ "loopback", "private" or "public" for an IP address; "name" for anything else."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "name"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback or address.is_unspecified:
        return "loopback"
    private = any(address in network for network in _PRIVATE_NETWORKS if network.version == address.version)
    return "private" if private else "public"
