"""The known servers as the proxy reads them."""

import asyncio
import threading
from pathlib import Path

import pytest

from llama_runner.core.clock import SystemClock
from llama_runner.discovery.registry import ServerRecord
from llama_runner.discovery.saved import SavedServers
from llama_runner.service.remote_host import KnownServers
from tests.integration.routed_proxy import address, home_with, known

URL = "http://127.0.0.1:9"


async def test_who_leaves_while_the_list_is_read_takes_it_from_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one to ask is gone before the files are read; the next one comes within the same second."""
    reading, go_on, load = threading.Event(), threading.Event(), SavedServers.load

    def slowly(saved: SavedServers) -> tuple[ServerRecord, ...]:
        reading.set()
        assert go_on.wait(20)
        return load(saved)

    monkeypatch.setattr(SavedServers, "load", slowly)
    servers = KnownServers(home_with(tmp_path, known(URL, "m")), SystemClock())
    async with asyncio.TaskGroup() as group:
        first = group.create_task(servers.find(address(URL)))
        assert await asyncio.to_thread(reading.wait, 20)
        first.cancel()
    go_on.set()
    assert await servers.find(address(URL)) is not None
