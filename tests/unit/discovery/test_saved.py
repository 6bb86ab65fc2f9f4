"""Servers added by hand, on disk."""

import json
import stat
import sys
from pathlib import Path

import pytest

from llama_runner.backends.base import Engine
from llama_runner.core.clock import SystemClock
from llama_runner.core.paths import create_folders, home_at
from llama_runner.discovery.saved import SavedServer, SavedServers

SERVERS = (
    SavedServer("http://127.0.0.1:8080", Engine.LLAMA_SERVER, "llama-server"),
    SavedServer("http://[::1]:9", Engine.UNKNOWN, ""),
)


@pytest.fixture
def saved(home: Path) -> SavedServers:
    create_folders(home_at(home))
    return SavedServers(home_at(home), SystemClock())


def test_what_was_saved_is_loaded(saved: SavedServers) -> None:
    assert saved.load() == ()

    saved.save(SERVERS)

    assert saved.load() == SERVERS


@pytest.mark.skipif(sys.platform == "win32", reason="modes mean nothing there")
def test_the_file_is_private(saved: SavedServers) -> None:
    saved.save(SERVERS)

    assert stat.S_IMODE(saved.path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"[]", b'{"version":1,"servers":[{"url":1}]}', b"\xff"]
)
def test_an_unreadable_file_counts_as_empty_and_is_kept_aside(saved: SavedServers, content: bytes) -> None:
    saved.path.write_bytes(content)

    assert saved.load() == ()

    (aside,) = saved.path.parent.glob("servers.json.corrupt-*")
    assert aside.read_bytes() == content
    assert saved.path.read_bytes() == content


def test_addresses_that_we_would_not_have_written_are_left_out(saved: SavedServers) -> None:
    """D11: the file may have been edited by hand."""
    urls = ["http://evil\\@127.0.0.1", "http://127.1:80", "http://127.0.0.1:8080", "http://h:0", "x"]
    servers = [{"url": url, "engine": "ollama", "product": ""} for url in urls]
    saved.path.write_text(json.dumps({"version": 1, "servers": servers}))

    assert [server.url for server in saved.load()] == ["http://127.0.0.1:8080"]


def test_a_file_that_is_no_file_counts_as_empty(saved: SavedServers) -> None:
    saved.path.mkdir()

    assert saved.load() == ()
