"""Servers on another machine, in a network of two that exists only for the test (namespaces)."""

import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = ("unshare", "-rn")


@cache
def why_not() -> str:
    """Why there can be no network of our own here; empty when there can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    missing = [program for program in ("unshare", "nsenter", "ip") if shutil.which(program) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    tried = subprocess.run((*NAMESPACE, "ip", "link", "set", "lo", "up"), capture_output=True, timeout=10)
    return "" if tried.returncode == 0 else f"not allowed: {tried.stderr.decode(errors='replace').strip()}"


@pytest.fixture
def happened(home: Path) -> Any:
    """What became of a server with a key: see `tests.fakes.lan_of_two`."""
    if reason := why_not():
        pytest.skip(f"no network of one's own: {reason}")
    done = subprocess.run(
        (*NAMESPACE, sys.executable, "-m", "tests.fakes.lan_of_two", str(home)),
        cwd=ROOT,
        capture_output=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return json.loads(done.stdout)


def test_d13_a_server_whose_address_another_machine_got_gets_no_key_until_trusted(happened: Any) -> None:
    """R11: also when DHCP moved the host. And the packet that wakes it goes to the one that is trusted."""
    added, moved, trusted, woken = (happened[name] for name in ("added", "moved", "trusted", "woken"))

    assert (added["status"], added["mac"], added["trusted"]) == ("online", "02:00:00:00:00:02", False)
    assert added["keys"] == ["bearer secret"]

    assert moved["status"] == "error"
    assert "Another machine answers at this address" in moved["changed"]
    assert moved["asked"] > 0
    assert moved["keys"] == []

    assert (trusted["status"], trusted["mac"]) == ("online", "02:00:00:00:00:99")
    assert (trusted["changed"], trusted["trusted"]) == ("", True)
    assert trusted["keys"] == ["bearer secret"]

    assert set(woken["woken"]) == {"ff" * 6 + "020000000099" * 16}
