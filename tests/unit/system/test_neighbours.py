"""Hardware addresses of neighbours, from what each system prints."""

import struct
import sys

import pytest

from llama_runner.system.neighbours import (
    parse_arp_output,
    parse_linux_table,
    parse_windows_table,
    read_neighbours,
)

LINUX = """\
IP address       HW type     Flags       HW address            Mask     Device
192.168.1.1      0x1         0x2         A4:91:b1:00:00:01     *        eth0
192.168.1.9      0x1         0x0         00:00:00:00:00:00     *        eth0
192.168.1.7      0x1         0x6         a4:91:b1:00:00:07     *        eth0
192.168.1.8      0x1         0x2         ff:ff:ff:ff:ff:ff     *        eth0
"""


def windows_row(address: str, hardware: str, *, length: int = 6, kind: int = 3) -> bytes:
    """A MIB_IPNETROW."""
    octets = bytes.fromhex(hardware.replace(":", ""))
    numbers = bytes(map(int, address.split(".")))
    return struct.pack("=II8s4sI", 7, length, octets, numbers, kind)


WINDOWS = (
    windows_row("192.168.1.1", "a4:91:b1:00:00:01"),
    windows_row("192.168.1.2", "a4:91:b1:00:00:02", kind=4),
    windows_row("192.168.1.3", "a4:91:b1:00:00:03", kind=2),
    windows_row("192.168.1.4", "a4:91:b1:00:00:04", length=0),
    windows_row("192.168.1.255", "ff:ff:ff:ff:ff:ff", kind=4),
    windows_row("224.0.0.22", "01:00:5e:00:00:16", kind=4),
)

MAC = """\
? (192.168.1.1) at a4:91:b1:0:0:1 on en0 ifscope [ethernet]
printer.lan (192.168.1.9) at (incomplete) on en0 ifscope [ethernet]
? (224.0.0.251) at 1:0:5e:0:0:fb on en0 ifscope permanent [ethernet]
"""


def test_linux_shows_complete_entries_of_single_machines() -> None:
    assert parse_linux_table(LINUX) == {
        "192.168.1.1": "a4:91:b1:00:00:01",
        "192.168.1.7": "a4:91:b1:00:00:07",
    }


def test_the_table_of_windows_is_read_as_far_as_it_goes() -> None:
    count = len(WINDOWS).to_bytes(4, sys.byteorder)
    whole = {"192.168.1.1": "a4:91:b1:00:00:01", "192.168.1.2": "a4:91:b1:00:00:02"}

    assert parse_windows_table(count + b"".join(WINDOWS) + b"behind it") == whole
    assert parse_windows_table((1).to_bytes(4, sys.byteorder) + b"".join(WINDOWS)) == {
        "192.168.1.1": "a4:91:b1:00:00:01"
    }
    assert parse_windows_table(count + WINDOWS[0][:-1]) == {}
    assert parse_windows_table(b"") == {}


def test_arp_is_understood_whatever_else_it_says() -> None:
    assert parse_arp_output(MAC) == {"192.168.1.1": "a4:91:b1:00:00:01"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\x00",
        "nonsense\n" * 3,
        "IP\n1.2.3.4 0x1 zz 00:11:22:33:44:55 * eth0",
        "IP\n1.2.3.4",
        "IP\n1.2.3.4 0x1 0x2 00:zz:22:33:44:55 * eth0",
    ],
)
def test_what_is_not_understood_brings_nothing(text: str) -> None:
    assert parse_linux_table(text) == {}


@pytest.mark.parametrize("text", ["999.1.2.3 at 00:11:22:33:44:55", "1.2.3.4 at 00:11:22:33:44:55:66"])
def test_addresses_that_are_none_are_left_out(text: str) -> None:
    assert parse_arp_output(text) == {}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is a program that may be missing")
def test_this_system_answers() -> None:
    assert isinstance(read_neighbours(), dict)
