"""Relying on a service: the client's side of the lease."""

import asyncio

import pytest

from llama_runner.control import client as client_module
from llama_runner.control.client import ControlClient
from llama_runner.core.errors import ServiceError, UnreachableError
from llama_runner.net.client import open_http
from tests.fakes.raw_server import raw_server

GIVEN = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n"
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\n\r\nno!"


async def test_a_service_that_hangs_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_module, "LEASE_TIMEOUT_S", 0.2)
    async with raw_server(lambda *_: None) as service, open_http() as http, asyncio.timeout(5):
        with pytest.raises(UnreachableError):
            async with ControlClient(url=service.url, token="token", http=http).lease():
                raise AssertionError("a lease was given")


async def test_a_service_that_refuses_gives_no_lease() -> None:
    async with raw_server(lambda *_: REFUSED) as service, open_http() as http:
        with pytest.raises(ServiceError):
            async with ControlClient(url=service.url, token="token", http=http).lease():
                raise AssertionError("a lease was given")


async def test_a_lease_lasts_longer_than_its_head_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "LEASE_TIMEOUT_S", 0.1)
    async with (
        raw_server(lambda *_: GIVEN) as service,
        open_http() as http,
        ControlClient(url=service.url, token="token", http=http).lease(),
    ):
        # As long as a lease that were cut at its limit would take to fail.
        await asyncio.sleep(0.3)
