"""Hardware addresses of machines in the same networks, as this machine has them at hand. Sends nothing.

IPv4 only: what wakes a machine is its hardware address, and every LAN that has servers speaks IPv4.
"""

import ipaddress
import logging
import re
import struct
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

_LINUX_TABLE: Final = Path("/proc/net/arp")
# The program reads a table of the kernel: milliseconds, unless the machine is on its knees.
_ARP_TIMEOUT_S: Final = 5.0
# In /proc/net/arp: the entry is complete, so that its hardware address means something.
_COMPLETE: Final = 0x2
# MIB_IPNETROW; kinds 1 ("other") and 2 ("invalid") are no neighbours.
_ROW: Final = struct.Struct("=II8s4sI")
_INVALID_KINDS: Final = (1, 2)
# ERROR_INSUFFICIENT_BUFFER, ERROR_NO_DATA
_TOO_SMALL: Final = 122
_NO_DATA: Final = 232
_TABLE_ATTEMPTS: Final = 4
_ADDRESS: Final = re.compile(r"(?<![\d.])(\d{1,3}(?:\.\d{1,3}){3})(?![\d.])")
_HARDWARE: Final = re.compile(r"(?<![0-9a-f:-])([0-9a-f]{1,2}(?:[:-][0-9a-f]{1,2}){5})(?![0-9a-f:-])", re.I)


def read_neighbours() -> Mapping[str, str]:
    """IPv4 address to hardware address ("aa:bb:cc:dd:ee:ff"); empty where the system does not say. Blocks."""
    try:
        if sys.platform == "linux":
            return parse_linux_table(_LINUX_TABLE.read_text(encoding="ascii", errors="replace"))
        if sys.platform == "win32":
            return parse_windows_table(_windows_table())
        return parse_arp_output(_arp_output())
    except (OSError, subprocess.SubprocessError) as error:
        log.info("neighbours not known reason=%s", error)
        return {}


def parse_linux_table(text: str) -> dict[str, str]:
    """The complete entries of /proc/net/arp."""
    found: dict[str, str] = {}
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 6 or not _is_complete(fields[2]):
            continue
        if _HARDWARE.fullmatch(fields[3]):
            _keep(found, fields[0], _octets(fields[3]))
    return found


def parse_windows_table(table: bytes) -> dict[str, str]:
    """The entries of a MIB_IPNETTABLE: a count, then index, length, hardware address, address, type."""
    found: dict[str, str] = {}
    count = int.from_bytes(table[:4], sys.byteorder)
    for index, (_, length, hardware, address, kind) in enumerate(_ROW.iter_unpack(_whole_rows(table[4:]))):
        if index < count and length == 6 and kind not in _INVALID_KINDS:
            _keep(found, ".".join(map(str, address)), tuple(hardware[:6]))
    return found


def parse_arp_output(text: str) -> dict[str, str]:
    """The entries of `arp -a`, whatever language its words are in (macOS, BSD)."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        address, hardware = _ADDRESS.search(line), _HARDWARE.search(line)
        if address is not None and hardware is not None:
            _keep(found, address.group(1), _octets(hardware.group(1)))
    return found


def _keep(found: dict[str, str], address: str, hardware: Iterable[int]) -> None:
    """Note an entry unless it is none of one machine: broadcast, multicast, not answered yet."""
    octets = tuple(hardware)
    if octets[0] & 1 or not any(octets):
        return
    try:
        found[str(ipaddress.IPv4Address(address))] = ":".join(f"{octet:02x}" for octet in octets)
    except ValueError:
        log.info("neighbour ignored, its address is none")


def _octets(text: str) -> tuple[int, ...]:
    return tuple(int(part, 16) for part in re.split("[:-]", text))


def _whole_rows(table: bytes) -> bytes:
    return table[: len(table) - len(table) % _ROW.size]


def _is_complete(flags: str) -> bool:
    try:
        return bool(int(flags, 16) & _COMPLETE)
    except ValueError:
        return False


def _arp_output() -> str:
    done = subprocess.run(["arp", "-an"], capture_output=True, timeout=_ARP_TIMEOUT_S, check=False)
    return done.stdout.decode("utf-8", errors="replace")


if sys.platform == "win32":
    import ctypes

    def _windows_table() -> bytes:
        """What GetIpNetTable writes. Raises OSError."""
        size = ctypes.c_ulong(0)
        table = ctypes.create_string_buffer(4)
        # The table may grow between the question for its size and the one for itself.
        for _ in range(_TABLE_ATTEMPTS):
            result = ctypes.windll.iphlpapi.GetIpNetTable(table, ctypes.byref(size), False)
            if result == _NO_DATA:
                return b""
            if result != _TOO_SMALL:
                break
            table = ctypes.create_string_buffer(size.value)
        if result != 0:
            raise OSError(result, "the table of neighbours could not be read")
        return table.raw
