"""The contract's fixtures, on the servers of the table instead of its own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from llama_runner.backends.base import Backend
from llama_runner.backends.registry import connect
from llama_runner.core.clock import SystemClock
from llama_runner.net.client import open_http
from tests.contract.servers import Server
from tests.real.known import NO_LIMIT, reason_to_fail
from tests.real.servers import rows

ROWS = rows()
# Without a table there is nothing to run.
collect_ignore_glob = [] if ROWS else ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder, give it time for its server's start, and name what cannot pass."""
    ours = [item for item in items if item.path.parent == Path(__file__).parent]
    for item in ours:
        if "planned" in getattr(item, "fixturenames", ()):
            # Only the metronome answers as planned.
            items.remove(item)
        item.add_marker(pytest.mark.real_servers)
        item.add_marker(pytest.mark.timeout(300))
        callspec = getattr(item, "callspec", None)
        if callspec is not None and "server" in callspec.params:
            reason = reason_to_fail(callspec.params["server"].name, getattr(item, "originalname", item.name))
            if reason is not None:
                # Without a limit they read for minutes.
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True, run=reason != NO_LIMIT))


@pytest.fixture(autouse=True)
def leak_guard() -> None:
    """In place of the suite's own: real servers start processes of their own whenever they like."""


@pytest.fixture(scope="session", params=ROWS, ids=lambda row: row.name)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Each server in turn, one at a time."""
    with request.param.start(request) as running:
        yield running


@pytest_asyncio.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with open_http() as client:
        yield client


@pytest.fixture
def backend(server: Server, http: httpx.AsyncClient) -> Backend:
    """The backend for `server`."""
    return connect(server.endpoint(), http=http, clock=SystemClock())
