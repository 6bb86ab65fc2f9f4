"""The proxy over known servers, real files, real HTTP to real servers, no engine of its own."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from llama_runner.backends.base import Engine
from llama_runner.backends.models import ModelInfo
from llama_runner.core.clock import Clock, SystemClock
from llama_runner.core.paths import Home, create_folders, home_at
from llama_runner.core.settings import AppConfig, LoggingSettings, ModelsConfig, ProxySettings
from llama_runner.core.tasks import TaskOwner
from llama_runner.discovery.registry import Certainty, ServerRecord, ServerSource, ServerStatus
from llama_runner.discovery.saved import SavedServers
from llama_runner.net.client import Timeouts, open_http
from llama_runner.proxy.admission import Admission
from llama_runner.proxy.app import ollama_app, openai_app
from llama_runner.proxy.breaker import Breakers
from llama_runner.proxy.calls import Relays
from llama_runner.proxy.prompts import PromptLog
from llama_runner.proxy.records import RequestLog, RequestRecord
from llama_runner.runtime.manager import RuntimeManager
from llama_runner.service.model_host import RuntimeHost
from llama_runner.service.remote_host import KnownServers, RemoteHost
from llama_runner.service.routes import RoutedHost


class MovingClock(SystemClock):
    """The system's, moved forward by hand: pauses are over when a test says so."""

    ahead_s = 0.0

    def now_ns(self) -> int:
        return super().now_ns() + round(self.ahead_s * 1e9)


@dataclass
class RoutedProxy:
    """Both faces, and what is behind them."""

    openai: httpx.AsyncClient
    ollama: httpx.AsyncClient
    host: RoutedHost
    requests: RequestLog
    clock: MovingClock
    admission: Admission

    @property
    def last(self) -> RequestRecord:
        """The newest request."""
        return self.requests.records[-1]

    async def chat(self, model: str, content: str = "Hello", **more: Any) -> httpx.Response:
        """One chat in OpenAI's words."""
        body = {"model": model, "messages": [{"role": "user", "content": content}], **more}
        return await self.openai.post("/v1/chat/completions", json=body)


def known(
    url: str, *models: str, engine: Engine = Engine.OPENAI, changed: str = "", key_place: str = ""
) -> ServerRecord:
    """A server as a person added it."""
    return ServerRecord(
        id=url,
        base_url=url,
        engine=engine,
        product=str(engine),
        certainty=Certainty.CERTAIN,
        status=ServerStatus.ONLINE,
        source=ServerSource.MANUAL,
        models=tuple(map(ModelInfo, models)),
        changed=changed,
        key_place=key_place,
    )


def address(url: str) -> str:
    """As routes name it."""
    return url.partition("://")[2]


def routes(**steps: list[str]) -> dict[str, Any]:
    """The setting, by name."""
    return {name: {"steps": found} for name, found in steps.items()}


def home_with(folder: Path, *servers: ServerRecord) -> Home:
    """A home whose known servers are these."""
    home = home_at(folder)
    create_folders(home)
    SavedServers(home, SystemClock()).keep(servers)
    return home


@asynccontextmanager
async def routed_proxy(folder: Path, *servers: ServerRecord, **proxy: Any) -> AsyncIterator[RoutedProxy]:
    """The proxy with these servers known and these settings."""
    home = home_with(folder, *servers)
    settings = ProxySettings.model_validate_json(json.dumps(proxy))
    clock, tasks, requests = MovingClock(), TaskOwner(), RequestLog()
    servers_kept = KnownServers(home, clock)
    async with open_http(Timeouts(connect_s=3.0), pin_of=servers_kept.tls_pin_of) as http:
        manager = _no_models(home, http, clock)
        host = RoutedHost(
            RuntimeHost(manager, http=http, clock=clock, tasks=tasks),
            RemoteHost(servers_kept, http=http, clock=clock, tasks=tasks),
            settings=lambda: settings,
            breakers=Breakers(),
        )
        prompts = PromptLog(home.logs_dir, LoggingSettings(), clock)
        shared = Relays(
            host=host,
            http=http,
            clock=clock,
            admission=Admission(clock=clock),
            requests=requests,
            settings=lambda: settings,
            breakers=host.breakers,
            prompts=prompts,
        )
        try:
            async with _client(openai_app(shared)) as openai, _client(ollama_app(shared)) as ollama:
                yield RoutedProxy(openai, ollama, host, requests, clock, shared.admission)
        finally:
            prompts.close()
            shared.kept.close()
            await tasks.close()
            await manager.close()


def _no_models(home: Home, http: httpx.AsyncClient, clock: Clock) -> RuntimeManager:
    return RuntimeManager(config=AppConfig, models_config=ModelsConfig, home=home, http=http, clock=clock)


def _client(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://proxy", timeout=30)
