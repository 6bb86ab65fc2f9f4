"""Each server of the table in turn, and the backend that speaks to it."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio

from llama_runner.backends.base import Backend
from llama_runner.backends.registry import connect
from llama_runner.core.clock import SystemClock
from llama_runner.net.client import open_http
from tests.contract.servers import PLANNED, SERVERS, Server


# Of the session, so that a server starts once, before its first test, and is no leak of that test.
@pytest.fixture(scope="session", params=SERVERS, ids=lambda row: row.name)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Each server in turn."""
    with request.param.start(request) as running:
        yield running


@pytest.fixture(scope="session", params=PLANNED, ids=lambda row: row.name)
def planned(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The metronome in each dialect, for what only it can do."""
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


@pytest.fixture
def planned_backend(planned: Server, http: httpx.AsyncClient) -> Backend:
    """The backend for `planned`."""
    return connect(planned.endpoint(), http=http, clock=SystemClock())
