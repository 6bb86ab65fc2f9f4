"""The proxy's listeners inside the service: one per dialect, each with the request gate in front.

They follow the settings while the service runs, by difference: what stays is not touched, and a listener that
goes answers to the end what it is answering. A busy port costs its dialect only: it is said by name, and
everything else works (F12).
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

import httpx
from starlette.types import ASGIApp

from llama_runner.core.clock import Clock
from llama_runner.core.errors import ConfigError, PortInUseError
from llama_runner.core.settings import ProxySettings
from llama_runner.core.tasks import TaskOwner
from llama_runner.net.gate import RequestGate
from llama_runner.net.listen import listen_tcp, port_of_socket
from llama_runner.proxy.admission import Admission
from llama_runner.proxy.app import ollama_app, openai_app
from llama_runner.proxy.bodies import MAX_BODY_BYTES
from llama_runner.proxy.calls import Relays
from llama_runner.runtime.manager import RuntimeManager
from llama_runner.service.addresses import NOT_WANTED, Address, Listening, ProxyAddresses
from llama_runner.service.listener import allowed_hosts, busy_sentence, url_host
from llama_runner.service.model_host import RuntimeHost
from llama_runner.service.remote_host import KnownServers, RemoteHost
from llama_runner.service.routes import RoutedHost
from llama_runner.service.server import CLOSE_LIMIT_S, HttpServer
from llama_runner.service.state import ServiceState
from llama_runner.system.identity import listener_of

log = logging.getLogger(__name__)

_NAMES: Final = {"openai": "OpenAI and LM Studio", "ollama": "Ollama"}


@dataclass(slots=True)
class _Dialect:
    """One dialect and the server that speaks it now, if one does."""

    key: str
    app: ASGIApp
    fixed: bool
    address: Address | None = None
    server: HttpServer | None = None
    now: Listening = NOT_WANTED


class Proxies:
    """A context: inside it the listeners are open as far as they are wanted.

    Args:
        wanted: Where each dialect is to listen, as the settings and the command line say now.
        fixed: What the command line said.
        servers: Other places to ask, as far as `settings` names them.
        state: Gets what became of each dialect, and notices.
    """

    def __init__(
        self,
        *,
        wanted: Callable[[], ProxyAddresses],
        fixed: ProxyAddresses,
        manager: RuntimeManager,
        servers: KnownServers,
        settings: Callable[[], ProxySettings],
        http: httpx.AsyncClient,
        clock: Clock,
        state: ServiceState,
    ) -> None:
        self._tasks = TaskOwner()
        # One for all listeners, whichever come and go: queues and counts are the models', not a port's.
        self.host = RoutedHost(
            RuntimeHost(manager, http=http, clock=clock, tasks=self._tasks),
            RemoteHost(servers, chosen=lambda: settings().servers, http=http, clock=clock, tasks=self._tasks),
            settings=settings,
        )
        shared = Relays(
            host=self.host,
            http=http,
            clock=clock,
            admission=Admission(clock=clock),
            requests=state.requests,
            settings=settings,
            breakers=self.host.breakers,
        )
        self._wanted = wanted
        self._state = state
        self._dialects = (
            _Dialect("openai", openai_app(shared), fixed.openai is not None),
            _Dialect("ollama", ollama_app(shared), fixed.ollama is not None),
        )
        self._serving: set[asyncio.Task[None]] = set()
        self._retired: set[HttpServer] = set()
        self._changing = asyncio.Lock()
        self._open = False

    async def __aenter__(self) -> Self:
        self._open = True
        await self.follow()
        return self

    async def __aexit__(self, *_: object) -> None:
        async with self._changing:
            self._open = False
            for dialect in self._dialects:
                if dialect.server is not None:
                    dialect.server.stop()
        if self._retired:
            await asyncio.wait(self._serving, timeout=CLOSE_LIMIT_S)
            for server in self._retired:
                server.cut()
        if self._serving:
            await asyncio.wait(self._serving)
        await self._tasks.close()

    async def follow(self, again: bool = False) -> None:
        """Open and close what is not as it is wanted now.

        Args:
            again: Also try again what could not be opened.
        """
        async with self._changing:
            if not self._open:
                return
            wanted = self._wanted()
            changes = [
                (dialect, address)
                for dialect, address in zip(self._dialects, (wanted.openai, wanted.ollama), strict=True)
                if address != dialect.address or (again and dialect.now.problem)
            ]
            # All that go before any that comes: two may have swapped their ports.
            for dialect, _ in changes:
                self._close(dialect)
            for dialect, address in changes:
                await self._begin(dialect, address)
            self._state.openai, self._state.ollama = (dialect.now for dialect in self._dialects)

    def _close(self, dialect: _Dialect) -> None:
        self._state.withdraw(dialect.now.problem)
        server, dialect.server = dialect.server, None
        if server is not None:
            log.info("proxy listens no more dialect=%s url=%s", dialect.key, dialect.now.url)
            server.retire()
            self._retired.add(server)

    async def _begin(self, dialect: _Dialect, address: Address | None) -> None:
        dialect.address = address
        dialect.now = Listening(fixed=dialect.fixed)
        if address is None:
            return
        host, port = address
        try:
            listener = listen_tcp(host, port)
        except PortInUseError:
            problem = f"{_who_has(port)} {_advice(dialect)}"
        except ConfigError as error:
            problem = f"{error.message} {_advice(dialect)}"
        else:
            url = await self._serve(dialect, host, listener)
            dialect.now = Listening(port, url, fixed=dialect.fixed)
            log.info("proxy listens dialect=%s url=%s", dialect.key, url)
            return
        dialect.now = Listening(port, problem=problem, fixed=dialect.fixed)
        self._state.notice(problem)

    async def _serve(self, dialect: _Dialect, host: str, listener: socket.socket) -> str:
        port = port_of_socket(listener)
        hosts = allowed_hosts(host, port)
        gate = RequestGate(
            dialect.app, allowed_hosts=lambda: hosts, token=None, max_body_bytes=MAX_BODY_BYTES
        )
        server = HttpServer(gate, listener)
        task = self._tasks.start(self._run(server, listener), name=f"{dialect.key} API")
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        await server.accepting()
        dialect.server = server
        return f"http://{url_host(host)}:{port}"

    async def _run(self, server: HttpServer, listener: socket.socket) -> None:
        with contextlib.closing(listener):
            await server.run_until_stopped()
        self._retired.discard(server)


def _who_has(port: int) -> str:
    found = listener_of(port)
    if found is not None and found.pid == os.getpid():
        return f"Port {port} is in use by this service itself."
    return busy_sentence(port, found)


def _advice(dialect: _Dialect) -> str:
    where = (
        f"give another port with --{dialect.key} HOST:PORT"
        if dialect.fixed
        else f"choose another port (proxy.{dialect.key}_port)"
    )
    return f"The {_NAMES[dialect.key]} API is not served: {where}, or end that program and try again."
