"""The client side put together: one of everything that the window and the commands share.

Opening starts nothing and connects to nothing. Closing leaves nothing behind: no task, no connection, no
service that is ours unless it is to keep serving.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Final

import httpx

from llama_runner.arena.manager import ArenaManager
from llama_runner.backends.base import Backend, Endpoint, Target
from llama_runner.backends.live import AnswerLimits
from llama_runner.backends.registry import connect
from llama_runner.backends.request import SamplingOptions
from llama_runner.chat.manager import ChatManager
from llama_runner.core.clock import Clock, SystemClock
from llama_runner.core.config import Loaded, load_app_config, load_models_config
from llama_runner.core.errors import ProtocolError, RefusedError, TlsError, UnreachableError
from llama_runner.core.paths import Home
from llama_runner.core.settings import AppConfig
from llama_runner.discovery.manager import DiscoveryManager
from llama_runner.discovery.registry import ServerRecord, ServerRegistry, ServerStatus, target_label
from llama_runner.discovery.saved import SavedServers
from llama_runner.net.client import open_http
from llama_runner.net.tls import is_about_certificate, is_about_tls
from llama_runner.system.config_changes import edit_app_config
from llama_runner.workspace.choice import choose_local, choose_remote
from llama_runner.workspace.service_link import ServiceLink

if TYPE_CHECKING:
    from llama_runner.chat.history import History
    from llama_runner.chat.history_keeping import Keeper
    from llama_runner.stress.manager import StressManager
    from llama_runner.telemetry.collector import TelemetryCollector

log = logging.getLogger(__name__)

# The demo model is so small that now and then it rambles until its context is full: minutes of nothing.
DEMO_MAX_TOKENS: Final = 512


class Workspace:
    """Made by `open_workspace`, never directly.

    Attributes:
        config: The settings with what was wrong in their file.
        registry: The one list of servers.
        scopes: How near each host name was at its first answer (D12).
        service: The local service; nothing starts it but what needs it.
    """

    def __init__(
        self,
        *,
        home: Home,
        demo: bool,
        keep_serving: bool | None,
        clock: Clock,
        registry: ServerRegistry,
        http: httpx.AsyncClient,
        scopes: Mapping[str, str],
    ) -> None:
        self.home = home
        self.demo = demo
        self.clock = clock
        self.http = http
        self.config: Loaded[AppConfig] = load_app_config(home)
        self.registry = registry
        self.scopes = scopes
        self.discovery = DiscoveryManager(
            registry=self.registry,
            http=http,
            clock=clock,
            settings=lambda: self.settings.discovery,
            saved=SavedServers(home, clock),
        )
        self.service = ServiceLink(
            home=home,
            http=http,
            registry=self.registry,
            refine=self.discovery.check,
            keep_serving=lambda: (
                self.settings.service.keep_serving_after_window if keep_serving is None else keep_serving
            ),
            demo=demo,
        )
        self.chat = ChatManager(connect=self.connect, clock=clock, limits=self.answer_limits)
        self.arena = ArenaManager(
            connect=self.connect,
            clock=clock,
            limits=self.answer_limits,
            max_entries=lambda: self.settings.arena.max_entries,
        )

    @property
    def settings(self) -> AppConfig:
        """The settings now."""
        return self.config.value

    def use_config(self, config: Loaded[AppConfig]) -> None:
        """Settings were changed and saved: what asks for them from now on gets these."""
        self.config = config
        self.discovery.settings_changed()

    async def read_settings(self) -> AppConfig:
        """The settings as their file says now, which another program may have changed; from here on these
        apply.
        """
        self.use_config(await asyncio.to_thread(load_app_config, self.home))
        return self.settings

    async def edit_settings(self, edit: Callable[[AppConfig], AppConfig]) -> AppConfig:
        """Add to the settings, or take out of them; what runs here and a running service follow.

        Returns:
            What they were before.

        Raises:
            LlamaRunnerError: What `edit` raises, or the file cannot be written: nothing was changed. Or the
                service was not told; it follows when it is next asked something.
        """
        before, _ = await asyncio.to_thread(edit_app_config, self.home, edit)
        await self.read_settings()
        await self.service.reload()
        return before

    def connect(self, endpoint: Endpoint) -> Backend:
        """The backend that speaks to an endpoint."""
        return connect(endpoint, http=self.http, clock=self.clock)

    def answer_limits(self) -> AnswerLimits:
        """How long answers are waited for, by the settings."""
        chat = self.settings.chat
        return AnswerLimits(chat.first_token_timeout_s, chat.idle_timeout_s)

    def sampling_options(self) -> SamplingOptions:
        """What the settings say about sampling."""
        chat = self.settings.chat
        longest = DEMO_MAX_TOKENS if self.demo and chat.max_tokens is None else chat.max_tokens
        return SamplingOptions(temperature=chat.temperature, max_tokens=longest)

    @cached_property
    def stress(self) -> "StressManager":
        """The load tester; imported when first used."""
        from llama_runner.stress.manager import StressManager

        return StressManager(
            connect=self.connect,
            home=self.home,
            clock=self.clock,
            max_concurrency=self.settings.stress.max_concurrency,
            scopes=self.scopes,
        )

    @cached_property
    def history(self) -> "History":
        """The kept conversations; their file is opened when it is first asked something."""
        from llama_runner.chat.history import History, history_file

        return History(history_file(self.home, self.clock), self.clock)

    @cached_property
    def keeper(self) -> "Keeper":
        """What joins the chat and the kept conversations."""
        from llama_runner.chat.history_keeping import Keeper

        return Keeper(
            chat=self.chat,
            history=self.history,
            clock=self.clock,
            wanted=lambda: self.settings.chat.keep_history,
        )

    @cached_property
    def telemetry(self) -> "TelemetryCollector":
        """This machine's sampler, running from its first use on."""
        from llama_runner.telemetry.collector import TelemetryCollector

        monitor = self.settings.monitor
        collector = TelemetryCollector(monitor.interval_s, monitor.history_s, clock=self.clock)
        collector.start()
        return collector

    async def resolve_target(
        self,
        server_url: str | None = None,
        model: str | None = None,
        api_key: str | None = None,
        *,
        key_over_plain_http: bool = False,
    ) -> Target:
        """What a command talks to: a model of a named server, else a local one, loaded and ready.

        Args:
            key_over_plain_http: The person agreed to send the key unencrypted to another machine (R11).

        Raises:
            LlamaRunnerError: The server or the model cannot be had; says which there are.
        """
        if server_url is None:
            return await self._local_target(model)
        record = await self._usable(server_url, api_key, key_over_plain_http)
        chosen = choose_remote(record.models, model, record.base_url)
        return Target(self.registry.endpoint(record), chosen, target_label(record, chosen))

    async def resolve_endpoint(
        self, server_url: str, api_key: str | None = None, *, key_over_plain_http: bool = False
    ) -> Endpoint:
        """How to reach a named server, whatever models it has. Raises LlamaRunnerError."""
        return self.registry.endpoint(await self._usable(server_url, api_key, key_over_plain_http))

    async def _usable(self, server_url: str, api_key: str | None, key_over_plain_http: bool) -> ServerRecord:
        record = await self.discovery.ask(server_url, api_key, key_over_plain_http=key_over_plain_http)
        _refuse_unless_usable(record)
        return record

    async def _local_target(self, model: str | None) -> Target:
        listed = await self.service.models()
        chosen = choose_local(
            listed.models,
            model,
            default=load_models_config(self.home).value.default_model,
            ready=tuple(i.model for i in self.service.snapshot.instances if i.state == "ready"),
            demo=self.demo,
        )
        return await self.service.target(chosen)

    async def close(self) -> None:
        """End everything, the service last: what streams from it is cancelled first."""
        async with AsyncExitStack() as stack:
            # Runs upwards, every step even when one before it failed.
            stack.push_async_callback(self.service.close)
            if "telemetry" in self.__dict__:
                stack.callback(self.telemetry.close)
            stack.push_async_callback(self.discovery.close)
            if "stress" in self.__dict__:
                stack.push_async_callback(self.stress.close)
            stack.push_async_callback(self.arena.close)
            if "history" in self.__dict__:
                stack.push_async_callback(self.history.close)
            if "keeper" in self.__dict__:
                stack.push_async_callback(self.keeper.close)
            stack.push_async_callback(self.chat.close)


def _refuse_unless_usable(record: ServerRecord) -> None:
    if record.status is not ServerStatus.ONLINE and is_about_tls(record.problem):
        certificate = is_about_certificate(record.problem)
        look = (
            f"Look at it with `llama-runner servers certificate {record.base_url}`; you can trust it there."
        )
        raise TlsError(record.problem, look if certificate else "", certificate=certificate)
    match record.status:
        case ServerStatus.OFFLINE:
            raise UnreachableError(
                _told(record, "cannot be reached"), "Start the server, or correct the address."
            )
        case ServerStatus.NEEDS_KEY:
            raise RefusedError(_told(record, "wants an API key"), "Give it with --api-key-file.")
        case ServerStatus.ERROR if record.changed:
            raise RefusedError(
                record.problem,
                f"Trust it with `llama-runner servers trust {record.base_url}`, if you know why it changed.",
            )
        case ServerStatus.ERROR:
            raise ProtocolError(record.base_url, _clause(record.problem))


def _told(record: ServerRecord, what: str) -> str:
    """What is the matter with a server; mostly its problem names the address, or says no more than that."""
    if record.base_url in record.problem:
        return record.problem
    more = "" if what in record.problem or not record.problem else f": {_clause(record.problem)}"
    return f"{record.base_url} {what}{more}."


def _clause(sentence: str) -> str:
    """A sentence as part of another one."""
    return (
        sentence[:1].lower() + sentence[1:].rstrip(".") if sentence[1:2].islower() else sentence.rstrip(".")
    )


@asynccontextmanager
async def open_workspace(
    home: Home, *, demo: bool = False, keep_serving: bool | None = None, clock: Clock | None = None
) -> AsyncIterator[Workspace]:
    """A workspace for as long as the block lasts.

    Args:
        demo: Offer the demo engine and model.
        keep_serving: Whether a service that is started stays afterwards; None asks the settings.
    """
    registry = ServerRegistry()
    scopes: dict[str, str] = {}
    async with open_http(pin_of=registry.tls_pin_of, scopes=scopes) as http:
        workspace = Workspace(
            home=home,
            demo=demo,
            keep_serving=keep_serving,
            clock=clock or SystemClock(),
            registry=registry,
            http=http,
            scopes=scopes,
        )
        try:
            yield workspace
        finally:
            await workspace.close()
