"""The proxy's listeners inside the service: one per dialect, each with the request gate in front.

A busy port costs its dialect only: it is said by name, and everything else works (F12).
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable

import httpx
from starlette.types import ASGIApp

from llama_runner.core.clock import Clock
from llama_runner.core.errors import PortInUseError
from llama_runner.core.tasks import TaskOwner
from llama_runner.net.gate import RequestGate
from llama_runner.net.listen import listen_tcp, port_of_socket
from llama_runner.proxy.admission import Admission
from llama_runner.proxy.app import ollama_app, openai_app
from llama_runner.proxy.bodies import MAX_BODY_BYTES
from llama_runner.proxy.relay import Relays
from llama_runner.runtime.manager import RuntimeManager
from llama_runner.service.addresses import Address, ProxyAddresses, ProxyUrls
from llama_runner.service.listener import allowed_hosts, busy_sentence, url_host
from llama_runner.service.model_host import RuntimeHost
from llama_runner.service.server import HttpServer, SlowBodies
from llama_runner.service.state import ServiceState
from llama_runner.system.identity import listener_of

log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def open_proxies(
    wanted: ProxyAddresses,
    manager: RuntimeManager,
    *,
    http: httpx.AsyncClient,
    clock: Clock,
    state: ServiceState,
) -> AsyncIterator[ProxyUrls]:
    """Serve the wanted dialects for the length of the block."""
    shared = Relays(
        host=RuntimeHost(manager, http=http, clock=clock),
        http=http,
        clock=clock,
        admission=Admission(clock=clock),
        requests=state.requests,
    )
    tasks = TaskOwner()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(tasks.close)
        openai = _open("openai", wanted.openai, openai_app(shared), stack, tasks, state.notice)
        ollama = _open("ollama", wanted.ollama, ollama_app(shared), stack, tasks, state.notice)
        yield ProxyUrls(openai, ollama)


def _open(
    dialect: str,
    address: Address | None,
    app: ASGIApp,
    stack: contextlib.AsyncExitStack,
    tasks: TaskOwner,
    notice: Callable[[str], None],
) -> str | None:
    if address is None:
        return None
    host, port = address
    try:
        listener = listen_tcp(host, port)
    except PortInUseError:
        notice(
            f"{busy_sentence(port, listener_of(port))} The {dialect} API is not served; give another port "
            f"with --{dialect} HOST:PORT or in Settings (proxy.{dialect}_port)."
        )
        return None
    stack.callback(listener.close)
    return _serve(host, listener, app, dialect, stack, tasks)


def _serve(
    host: str,
    listener: socket.socket,
    app: ASGIApp,
    dialect: str,
    stack: contextlib.AsyncExitStack,
    tasks: TaskOwner,
) -> str:
    port = port_of_socket(listener)
    hosts = allowed_hosts(host, port)
    gate = RequestGate(app, allowed_hosts=lambda: hosts, token=None, max_body_bytes=MAX_BODY_BYTES)
    server = HttpServer(gate, listener, requests=SlowBodies)
    serving = tasks.start(server.run_until_stopped(), name=f"{dialect} API")

    async def stop() -> None:
        server.stop()
        await asyncio.wait((serving,))

    stack.push_async_callback(stop)
    url = f"http://{url_host(host)}:{port}"
    log.info("proxy listens dialect=%s url=%s", dialect, url)
    return url
