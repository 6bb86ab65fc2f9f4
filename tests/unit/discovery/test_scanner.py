"""Which host-port pairs are looked at."""

import pytest

from llama_runner.core.errors import UsageError
from llama_runner.discovery.scanner import MAX_HOSTS, Address, addresses_of


def test_every_pair_comes_once_host_by_host() -> None:
    assert addresses_of(("127.0.0.1", "127.0.0.2", "127.0.0.1"), (1, 2, 1)) == (
        Address("127.0.0.1", 1),
        Address("127.0.0.1", 2),
        Address("127.0.0.2", 1),
        Address("127.0.0.2", 2),
    )


def test_an_ipv6_host_gets_its_brackets() -> None:
    (address,) = addresses_of(("::1",), (8080,))

    assert address.base_url == "http://[::1]:8080"


@pytest.mark.parametrize(
    "host",
    [
        "http://evil\\@127.0.0.1",
        "127.1",
        "0x7f000001",
        "2130706433",
        "::ffff:1.2.3.4",
        "user@host",
        "h#x",
        "",
    ],
)
def test_d11_hosts_that_can_be_read_in_two_ways_are_refused(host: str) -> None:
    with pytest.raises(UsageError):
        addresses_of((host,), (8080,))


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "[::1]:8080"])
def test_a_host_with_a_port_is_refused(host: str) -> None:
    with pytest.raises(UsageError):
        addresses_of((host,), (8080,))


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_ports_that_are_none_are_refused(port: int) -> None:
    with pytest.raises(UsageError):
        addresses_of(("127.0.0.1",), (port,))


def test_more_hosts_than_a_person_types_are_refused() -> None:
    with pytest.raises(UsageError):
        addresses_of(tuple(f"127.0.1.{n}" for n in range(MAX_HOSTS + 1)), (80,))
