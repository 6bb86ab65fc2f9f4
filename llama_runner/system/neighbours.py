"""Hardware addresses of machines in the same networks, as this machine has them at hand. Sends nothing.

IPv4 only: what wakes a machine is its hardware address, and every LAN that has servers speaks IPv4.
"""

import ipaddress
import logging
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from llama_runner.system.job_objects import CREATE_NO_WINDOW

log = logging.getLogger(__name__)

_LINUX_TABLE: Final = Path("/proc/net/arp")
# The program reads a table of the kernel: milliseconds, unless the machine is on its knees.
_ARP_TIMEOUT_S: Final = 5.0
# In /proc/net/arp: the entry is complete, so that its hardware address means something.
_COMPLETE: Final = 0x2
_ADDRESS: Final = re.compile(r"(?<![\d.])(\d{1,3}(?:\.\d{1,3}){3})(?![\d.])")
_HARDWARE: Final = re.compile(r"(?<![0-9a-f:-])([0-9a-f]{1,2}(?:[:-][0-9a-f]{1,2}){5})(?![0-9a-f:-])", re.I)


def read_neighbours() -> Mapping[str, str]:
    """IPv4 address to hardware address ("aa:bb:cc:dd:ee:ff"); empty where the system does not say. Blocks."""
    try:
        if sys.platform == "linux":
            return parse_linux_table(_LINUX_TABLE.read_text(encoding="ascii", errors="replace"))
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
        _keep(found, fields[0], fields[3])
    return found


def parse_arp_output(text: str) -> dict[str, str]:
    """The entries of `arp -a`, whatever language its words are in (Windows, macOS, BSD)."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        address, hardware = _ADDRESS.search(line), _HARDWARE.search(line)
        if address is not None and hardware is not None:
            _keep(found, address.group(1), hardware.group(1))
    return found


def _keep(found: dict[str, str], address: str, hardware: str) -> None:
    """Note an entry unless it is none of one machine: broadcast, multicast, not answered yet."""
    octets = [int(part, 16) for part in re.split("[:-]", hardware)]
    group = octets[0] & 1
    if len(octets) != 6 or group or not any(octets):
        return
    try:
        found[str(ipaddress.IPv4Address(address))] = ":".join(f"{octet:02x}" for octet in octets)
    except ValueError:
        log.info("neighbour ignored, its address is none")


def _is_complete(flags: str) -> bool:
    try:
        return bool(int(flags, 16) & _COMPLETE)
    except ValueError:
        return False


def _arp_output() -> str:
    command = ["arp", "-a"] if sys.platform == "win32" else ["arp", "-an"]
    flags = CREATE_NO_WINDOW if sys.platform == "win32" else 0
    done = subprocess.run(
        command, capture_output=True, timeout=_ARP_TIMEOUT_S, check=False, creationflags=flags
    )
    return done.stdout.decode("utf-8", errors="replace")
