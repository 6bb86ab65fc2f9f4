"""The addresses of this machine."""

import ipaddress

import pytest

from llama_runner.system import interfaces
from llama_runner.system.interfaces import interface_addresses


def test_loopback_is_among_the_addresses_with_its_whole_network() -> None:
    found = [entry for entry in interface_addresses() if entry.address == "127.0.0.1"]

    assert [entry.prefix for entry in found] == [8]


def test_every_address_is_plain_and_its_prefix_fits() -> None:
    for entry in interface_addresses():
        assert entry.prefix <= ipaddress.ip_address(entry.address).max_prefixlen


@pytest.mark.parametrize(
    ("address", "mask", "prefix"),
    [
        ("10.0.0.1", "255.255.254.0", 23),
        ("10.0.0.1", "255.0.255.0", 32),
        ("10.0.0.1", None, 32),
        ("fd00::1", "ffff:ffff:ffff:ffff::", 64),
        ("fd00::1", "", 128),
        ("10.0.0.1", "0.0.0.0", 0),
    ],
)
def test_a_mask_that_makes_no_sense_is_the_whole_address(address: str, mask: str | None, prefix: int) -> None:
    assert interfaces._prefix(address, mask) == prefix
