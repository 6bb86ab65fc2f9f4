"""The gate matrix (safety R1): every route of every listener of a real service, by Host, Origin and method.

Routes come from the applications that the service composed, and a listener without a gate fails the fixture:
neither a new route nor a new listener can escape.
"""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute

from llama_runner.control.client import ControlClient
from llama_runner.control.runfile import read_run_file
from llama_runner.core.config import load_app_config, save_app_config
from llama_runner.core.editing import replace_setting
from llama_runner.core.paths import create_folders, home_at
from llama_runner.net.answering import Message
from llama_runner.net.client import open_http
from llama_runner.net.gate import RequestGate
from llama_runner.service import app as service_app
from llama_runner.service import doors
from llama_runner.service.addresses import ProxyAddresses
from llama_runner.service.app import ServiceOptions, run_service
from llama_runner.service.server import HttpServer
from tests.integration.raw_http import exchange

PAGE = "http://allowed.test:3000"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
READING = ("GET", "HEAD")


@dataclass(frozen=True)
class Listener:
    """One listener of the service: its port, and the gate that its server calls."""

    port: int
    gate: RequestGate
    needs_token: bool

    @property
    def routes(self) -> list[Route | WebSocketRoute]:
        """Every route of the application behind the gate."""
        application = self.gate._app
        assert isinstance(application, Starlette)
        found = [route for route in application.routes if isinstance(route, Route | WebSocketRoute)]
        assert len(found) == len(application.routes), "mounted applications have routes of their own"
        return found

    def paths(self) -> list[str]:
        """One path of each route, and some that have none."""
        paths = {re.sub(r"\{[^}]*\}", "some", route.path) for route in self.routes}
        return [*sorted(paths), "/nowhere", "/", "/api/v1/../x", "*"]

    def methods_of(self, path: str) -> set[str]:
        """The methods that are routed there."""
        return {
            method
            for route in self.routes
            if isinstance(route, Route) and route.path_regex.match(path)
            for method in route.methods or ()
        }


def good_hosts(port: int) -> list[str]:
    return [
        f"127.0.0.1:{port}",
        f"localhost:{port}",
        f"[::1]:{port}",
        f"LOCALHOST:{port}",
        f"box.test:{port}",
    ]


def bad_hosts(port: int, others: list[int]) -> list[str | None]:
    """H1, H2, H3: strangers, look-alikes, other ports, none."""
    return [
        "evil.test",
        f"evil.test:{port}",
        f"127.0.0.1.evil.test:{port}",
        f"localhost.:{port}",
        f"localhost.evil.test:{port}",
        "127.0.0.1",
        "localhost",
        "[::1]",
        "127.0.0.1:9999",
        *(f"127.0.0.1:{other}" for other in others),
        f"192.168.1.5:{port}",
        f"10.0.0.1:{port}",
        f"0.0.0.0:{port}",
        f"127.1:{port}",
        f"2130706433:{port}",
        f"127.0.0.1:{port}@evil.test",
        f"evil.test#127.0.0.1:{port}",
        f"127.0.0.1:0{port}",
        f"box:{port}",
        f"[::ffff:127.0.0.1]:{port}",
        "",
        None,
    ]


def bad_origins(port: int, others: list[int]) -> list[str]:
    """H6, H7: pages of others, files, look-alikes, and the pages of our own other listeners."""
    return [
        "https://evil.test",
        "null",
        "file://",
        "http://localhost:3000",
        f"http://127.0.0.1:{port}.evil",
        f"http://127.0.0.1.evil:{port}",
        f"https://127.0.0.1:{port}",
        *(f"http://127.0.0.1:{other}" for other in others),
        "http://localhost",
        "app://obsidian.md",
        "chrome-extension://abcdef",
        "vscode-webview://abcdef",
        f"{PAGE}.evil",
        f"{PAGE}/",
        "*",
        "",
    ]


@pytest.fixture
async def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator["Service"]:
    async with composed(tmp_path, monkeypatch) as running:
        yield running


@dataclass
class Service:
    """A service in this process, and everything that listens for it."""

    listeners: list[Listener]
    token: str
    client: ControlClient


@asynccontextmanager
async def composed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    """A service as it is composed for real, in this process; its listeners are kept as they are made."""
    made: list[tuple[int, RequestGate]] = []

    class Kept(HttpServer):
        def __init__(self, app: Any, listener: Any, **more: Any) -> None:
            assert isinstance(app, RequestGate), "a listener without a gate"
            made.append((listener.getsockname()[1], app))
            super().__init__(app, listener, **more)

    for module in (service_app, doors):
        monkeypatch.setattr(module, "HttpServer", Kept)
    home = home_at(folder)
    create_folders(home)
    config = replace_setting(load_app_config(home).value, "proxy.origins", (PAGE,))
    save_app_config(home, replace_setting(config, "proxy.host_names", ("box.test",)))
    free = ("127.0.0.1", 0)
    options = ServiceOptions(control=free, proxy=ProxyAddresses(free, free))
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as group, open_http() as http:
        group.create_task(run_service(home, options, on_ready=lambda *_: ready.set()))
        await ready.wait()
        run_file = read_run_file(home)
        assert run_file is not None
        control = int(run_file.url.rpartition(":")[2])
        client = ControlClient(url=run_file.url, token=run_file.token, http=http)
        try:
            yield Service(
                [Listener(port, gate, port == control) for port, gate in made], run_file.token, client
            )
        finally:
            await client.shutdown()


async def status_of(
    listener: Listener,
    method: str,
    path: str,
    host: str | None,
    *headers: tuple[str, str],
    kind: str = "http",
) -> int:
    """What the gate and what is behind it answer, 0 for a WebSocket that is closed; no socket in between."""
    seen: list[int] = []
    lines = [("host", host), *headers] if host is not None else headers
    scope: dict[str, Any] = {
        "type": kind,
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in lines],
        "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", listener.port),
        "scheme": "http",
        "root_path": "",
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            seen.append(message["status"])
            names = [name.lower() for name, _ in message["headers"]]
            assert not [n for n in names if n.startswith(b"access-control-")] or ("origin", PAGE) in headers
            assert b"x-llama-runner" in names and b"x-content-type-options" in names
        elif message["type"] == "websocket.close":
            seen.append(0)

    await listener.gate(scope, receive, send)
    (status,) = seen
    return status


def others_of(service: Service, listener: Listener) -> list[int]:
    return [one.port for one in service.listeners if one is not listener]


async def test_three_listeners_have_all_their_routes_behind_a_gate(service: Service) -> None:
    assert len(service.listeners) == 3
    assert [len(listener.routes) > 15 for listener in service.listeners] == [True] * 3


async def test_h1_h2_h3_h6_h7_h21_no_route_answers_a_stranger(service: Service) -> None:
    """Every route x every Host, every Origin x every method; the token, where one is wanted, is there."""
    for listener in service.listeners:
        others = others_of(service, listener)
        token = ("authorization", f"Bearer {service.token}")
        bad, good = bad_hosts(listener.port, others), good_hosts(listener.port)
        origins = [(("origin", one),) for one in bad_origins(listener.port, others)]
        strangers = [
            *itertools.product(bad, [(), (("origin", PAGE),)]),
            *itertools.product((good[0], good[-1]), origins),
        ]
        assert len(bad) >= 20 and len(origins) >= 15
        for path, method, (host, origin) in itertools.product(listener.paths(), METHODS, strangers):
            status = await status_of(listener, method, path, host, token, *origin)
            assert status in (400, 403, 421), (method, path, host, origin, status)


async def test_h9_w1_w2_w3_nothing_answers_a_page_without_an_origin_or_a_strangers_socket(
    service: Service,
) -> None:
    """`<img>` and `<form>` send no Origin, but say that they come from elsewhere; so does a WebSocket."""
    token = ("authorization", f"Bearer {service.token}")
    for listener in service.listeners:
        host = f"127.0.0.1:{listener.port}"
        sites = ("cross-site", "same-site", "nonsense")
        for path, method, site in itertools.product(listener.paths(), METHODS, sites):
            assert await status_of(listener, method, path, host, token, ("sec-fetch-site", site)) in (
                400,
                403,
            )
        origins = [(("origin", one),) for one in bad_origins(listener.port, [])]
        for path, origin in itertools.product(listener.paths(), [(), *origins]):
            assert await status_of(listener, "GET", path, host, token, *origin, kind="websocket") == 0
            assert await status_of(listener, "GET", path, "evil.test", *origin, kind="websocket") == 0


async def test_h21_only_reading_needs_no_body_and_nothing_is_answered_without_a_wanted_token(
    service: Service,
) -> None:
    """2xx comes only where a GET is routed; everything else has an error of its own."""
    for listener in service.listeners:
        hosts = good_hosts(listener.port)[:4]
        for path, method, host in itertools.product(listener.paths(), METHODS, hosts):
            status = await status_of(listener, method, path, host)
            routed = listener.methods_of(path)
            if listener.needs_token:
                # The login page is public, and turns away who brings no link.
                assert status in ((403, 405) if path == "/login" else (400, 401)), (method, path, status)
            elif method not in routed:
                assert status in (400, 404, 405), (method, path, status)
            elif 200 <= status < 300:
                assert method in READING, (method, path, status)
            else:
                assert status in (400, 404, 501), (method, path, status)


async def test_h8_a_preflight_grants_an_allowed_page_what_it_needs_and_others_nothing(
    service: Service,
) -> None:
    proxies = [listener for listener in service.listeners if not listener.needs_token]
    asked = "authorization, content-type, x-stainless-os, x-odd, " + ", ".join(f"x-{n}" for n in range(100))
    preflight = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": asked,
        "Access-Control-Request-Private-Network": "true",
    }
    async with httpx.AsyncClient(timeout=60) as http:
        for listener in proxies:
            url = f"http://127.0.0.1:{listener.port}/v1/chat/completions"
            granted = await http.options(url, headers={"Origin": PAGE, **preflight})
            assert granted.status_code == 204
            assert granted.headers["access-control-allow-origin"] == PAGE
            assert granted.headers["access-control-allow-headers"] == (
                "authorization, content-type, x-stainless-os"
            )
            assert "access-control-allow-credentials" not in granted.headers
            assert "access-control-allow-private-network" not in granted.headers
            read = await http.get(f"http://127.0.0.1:{listener.port}/v1/models", headers={"Origin": PAGE})
            assert (read.status_code, read.headers["access-control-allow-origin"]) == (200, PAGE)
            assert read.headers["vary"] == "Origin"
            for origin in ("https://evil.test", "null", "http://localhost:3000"):
                refused = await http.options(url, headers={"Origin": origin, **preflight})
                assert refused.status_code == 403
                assert not [name for name in refused.headers if name.startswith("access-control-")]


async def test_every_route_is_refused_over_a_socket_too(service: Service) -> None:
    """The gate that was asked above is the one that answers at the port."""
    for listener in service.listeners:
        for path in listener.paths():
            if path == "*":
                continue
            target = path.encode()
            foreign = await exchange(
                listener.port, b"GET " + target + b" HTTP/1.1\r\nHost: evil.test\r\n\r\n"
            )
            assert foreign.startswith(b"HTTP/1.1 421 "), path
            paged = await exchange(
                listener.port,
                b"GET %b HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nOrigin: null\r\n\r\n" % (target, listener.port),
            )
            assert paged.startswith(b"HTTP/1.1 403 "), path


def _spelt(answer: bytes) -> Iterator[str]:
    yield from re.findall(r'^\{"(?:error|type)": ?(?:"|\{)', answer.partition(b"\r\n\r\n")[2].decode())


async def test_refusals_speak_the_dialect_of_their_path(service: Service) -> None:
    openai, ollama = [listener.port for listener in service.listeners if not listener.needs_token]
    expected = {
        (openai, "/v1/chat/completions"): ['{"error": {'],
        (openai, "/api/v0/models"): ['{"error": {'],
        (openai, "/nowhere"): ['{"error": {'],
        (openai, "/v1/messages"): ['{"type": "'],
        (ollama, "/api/chat"): ['{"error": "'],
        (ollama, "/nowhere"): ['{"error": "'],
        (ollama, "/v1/models"): ['{"error": {'],
    }
    for (port, path), start in expected.items():
        answer = await exchange(port, b"GET %b HTTP/1.1\r\nHost: evil.test\r\n\r\n" % path.encode())
        assert list(_spelt(answer)) == start, (path, answer)
