"""What becomes of clients of a WebSocket that stop answering."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from llama_runner.net.listen import listen_tcp, port_of_socket
from llama_runner.service import server as serving
from llama_runner.service.server import HttpServer
from llama_runner.service.sockets import LiveSocket
from tests.fakes.web_socket import PING, frame, upgrade_request, web_socket


@asynccontextmanager
async def listening(handler: object) -> AsyncIterator[int]:
    listener = listen_tcp("127.0.0.1", 0)
    server = HttpServer(
        Starlette(routes=[WebSocketRoute("/ws", handler)]),  # type: ignore[arg-type]
        listener,
        websockets=LiveSocket,
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(server.run_until_stopped())
        try:
            yield port_of_socket(listener)
        finally:
            server.stop()


async def test_w6_who_answers_no_ping_is_dropped_though_it_reads_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it was to be sent waits in memory until then, and the sender with it."""
    monkeypatch.setattr(serving, "PING_EVERY_S", 0.05)
    monkeypatch.setattr(serving, "PONG_LIMIT_S", 0.2)
    ended = asyncio.Event()

    async def pour(socket: WebSocket) -> None:
        await socket.accept()
        try:
            while True:
                await socket.send_text("x" * 60_000)
        finally:
            ended.set()

    def silent(port: int) -> None:
        request = upgrade_request("/ws", {"Host": f"127.0.0.1:{port}"})
        with web_socket(port, request, receive_bytes=4096) as client:
            assert client.status == 101
            asyncio.run_coroutine_threadsafe(_wait(ended), loop).result(20)

    loop = asyncio.get_running_loop()
    async with listening(pour) as port:
        await asyncio.to_thread(silent, port)


async def test_who_answers_pings_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "PING_EVERY_S", 0.01)

    async def hold(socket: WebSocket) -> None:
        await socket.accept()
        await socket.receive()

    def patient(port: int) -> None:
        request = upgrade_request("/ws", {"Host": f"127.0.0.1:{port}"})
        with web_socket(port, request) as client:
            for _ in range(10):
                found = client.read()
                assert found is not None and found[0] == PING
                client.send(frame(found[1], opcode=0xA))

    async with listening(hold) as port:
        await asyncio.to_thread(patient, port)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()
