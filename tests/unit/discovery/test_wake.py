"""Waking a machine: addresses, the packet, where it goes."""

import pytest

from llama_runner.core.errors import UsageError
from llama_runner.discovery.wake import EVERYBODY, magic_packet, parse_mac, wake_targets
from llama_runner.system.interfaces import InterfaceAddress

MAC = "00:11:22:aa:bb:cc"
INTERFACES = (
    InterfaceAddress("lo", "127.0.0.1", 8),
    InterfaceAddress("eth0", "192.168.7.5", 24),
    InterfaceAddress("eth0", "fe80::1", 64),
    InterfaceAddress("wg0", "192.168.7.9", 32),
    InterfaceAddress("eth1", "10.0.0.5", 20),
)


@pytest.mark.parametrize(
    "text", [MAC, "00-11-22-AA-BB-CC", "001122aabbcc", "0011.22aa.bbcc", " 00:11:22:AA:bb:CC \n"]
)
def test_a_hardware_address_is_understood_however_it_is_written(text: str) -> None:
    assert parse_mac(text) == MAC


@pytest.mark.parametrize(
    "text",
    ["", "x", "00:11:22:aa:bb", "00:11:22:aa:bb:cc:dd", "00:11:22:aa:bb:gg", "0:1:2:a:b:c", "192.168.1.1"],
)
def test_what_is_no_hardware_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a hardware address"):
        parse_mac(text)


@pytest.mark.parametrize("text", ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:16", "00:00:00:00:00:00"])
def test_addresses_of_many_or_of_nobody_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no single machine"):
        parse_mac(text)


def test_the_packet_is_what_network_cards_look_for() -> None:
    packet = magic_packet(MAC)

    assert packet == b"\xff" * 6 + b"\x00\x11\x22\xaa\xbb\xcc" * 16
    assert len(packet) == 102


def test_the_packet_goes_to_the_networks_that_the_server_is_in() -> None:
    assert wake_targets("http://192.168.7.20:8080", INTERFACES) == (EVERYBODY, "192.168.7.255")
    assert wake_targets("http://10.0.15.1:8080", INTERFACES) == (EVERYBODY, "10.0.15.255")
    assert wake_targets("http://172.16.0.1:8080", INTERFACES) == (EVERYBODY,)
    assert wake_targets("http://gpu-box.lan:8080", INTERFACES) == (EVERYBODY,)
    assert wake_targets("http://[fe80::2]:8080", INTERFACES) == (EVERYBODY,)
