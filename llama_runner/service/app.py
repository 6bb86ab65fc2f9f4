"""The service process, composed: one per home, everything it starts ends with it.

Ending, always in this order: no new work, instances stopped, HTTP closed, run file removed, lock given back.
"""

import asyncio
import contextlib
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from starlette.types import ASGIApp

from llama_runner import __version__
from llama_runner.control.access_token import kept_hash
from llama_runner.control.runfile import (
    AlreadyRunningError,
    RunFile,
    lock_path,
    remove_run_file,
    running_service,
    write_run_file,
)
from llama_runner.core.clock import Clock, SystemClock
from llama_runner.core.errors import ServiceError, StorageError
from llama_runner.core.paths import Home
from llama_runner.core.tasks import TaskOwner
from llama_runner.net.client import Timeouts, open_http
from llama_runner.net.gate import RequestGate
from llama_runner.net.listen import port_of_socket
from llama_runner.proxy.prompts import PromptLog
from llama_runner.runtime.engine import EngineProbes
from llama_runner.runtime.manager import RuntimeManager
from llama_runner.runtime.orphans import end_orphans
from llama_runner.service.addresses import NOWHERE, ProxyAddresses, ProxyUrls, check_given, wanted
from llama_runner.service.api import ControlApi
from llama_runner.service.browser import LOGIN_PATH, Browsers
from llama_runner.service.engine import describe_engine, describe_engines
from llama_runner.service.gpu import NvmlCards
from llama_runner.service.listener import allowed_hosts, claim_control_port, url_host
from llama_runner.service.live_config import NO_OVERRIDES, LiveConfig, Overrides
from llama_runner.service.owner import watch_owner
from llama_runner.service.proxies import Proxies
from llama_runner.service.remote_host import KnownServers
from llama_runner.service.routes_api import RoutesApi
from llama_runner.service.server import HttpServer
from llama_runner.service.sockets import LiveSocket
from llama_runner.service.state import ServiceState
from llama_runner.system.identity import identity
from llama_runner.system.locks import FileLock
from llama_runner.system.memory import share_freed_memory
from llama_runner.system.privileges import runs_as_root
from llama_runner.system.signals import install_stop_signals

log = logging.getLogger(__name__)

# 256 bits (safety R1).
TOKEN_BYTES: Final = 32
# Safety 3.2: a server that takes longer to accept a connection is asked no longer, another may be.
TIMEOUTS: Final = Timeouts(connect_s=3.0)


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """How the service was started.

    Attributes:
        control: Host and port of the control API in place of the settings.
        proxy: Where the proxy listens, in place of the settings.
        token_hash: Of the token to ask for in place of the kept one, everywhere.
        owned: It ends when its stdin does, and takes a free port when the wanted one is busy.
        keep: An owned one stays when its stdin ends.
        demo: Offer the demo engine and model.
    """

    control: tuple[str, int] | None = None
    proxy: ProxyAddresses = NOWHERE
    token_hash: bytes | None = field(default=None, repr=False)
    overrides: Overrides = NO_OVERRIDES
    owned: bool = False
    keep: bool = False
    demo: bool = False


async def run_service(
    home: Home,
    options: ServiceOptions,
    *,
    on_ready: Callable[[str, ProxyUrls], None],
    clock: Clock | None = None,
) -> None:
    """Serve `home` until told to stop: by a signal, by the control API, by the owner's end.

    Args:
        on_ready: Called once with the URLs of the control API and of the proxy, when everything answers.

    Raises:
        AlreadyRunningError: Another service has this home (F41).
        PortInUseError: The control port is busy (F12).
        ConfigError: The control host is not this machine only, or the proxy may not listen where the command
            line says (C6).
    """
    share_freed_memory()
    with only_service_of(home):
        state = ServiceState(
            owned=options.owned, keep=options.keep, demo=options.demo, clock=clock or SystemClock()
        )
        await _serve(home, options, state, on_ready)


@contextlib.contextmanager
def only_service_of(home: Home) -> Iterator[None]:
    """Hold the home's service lock. Raises AlreadyRunningError, naming the one that has it."""
    lock = FileLock(lock_path(home))
    try:
        taken = lock.acquire()
    except OSError as error:
        raise StorageError(
            f"{lock_path(home)} cannot be opened: {error.strerror}.", "Check the permissions of its folder."
        ) from error
    if not taken:
        running = running_service(home)
        who = f" (pid {running.pid}, {running.url})" if running else ""
        raise AlreadyRunningError(
            f"A service for {home.root} is already running{who}.", "Use it, or end it with `serve --stop`."
        )
    with lock:
        yield


async def _serve(
    home: Home, options: ServiceOptions, state: ServiceState, on_ready: Callable[[str, ProxyUrls], None]
) -> None:
    config = LiveConfig(home, options.overrides, notices=state)
    settings = config.app().service
    host, port = options.control or (settings.control_host, settings.control_port)

    def token_hash() -> bytes | None:
        return options.token_hash or kept_hash(home)

    # Before anything is opened: what the command line may not ask for ends it here.
    check_given(options.proxy, has_token=token_hash() is not None, as_root=runs_as_root())
    listener, notice = claim_control_port(host, port, fall_back=options.owned)
    if notice:
        state.notice(notice)
    tasks = TaskOwner()
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(listener.close)
        if orphans := await asyncio.to_thread(end_orphans, home):
            state.notice(f"{orphans} processes that a killed service had left behind were ended.")
        servers = KnownServers(home, SystemClock())
        prompts = PromptLog(home.logs_dir, config.app().logging, SystemClock())
        stack.callback(prompts.close)
        http = await stack.enter_async_context(open_http(TIMEOUTS, pin_of=servers.tls_pin_of))
        stack.push_async_callback(tasks.close)
        manager = RuntimeManager(
            config=config.app,
            models_config=config.models,
            home=home,
            http=http,
            clock=SystemClock(),
            demo=options.demo,
            gpu=NvmlCards(),
            notice=state.notice,
        )
        stack.push_async_callback(manager.close)
        token, port = secrets.token_urlsafe(TOKEN_BYTES), port_of_socket(listener)
        url = f"http://{url_host(host)}:{port}"
        proxies = Proxies(
            wanted=lambda: wanted(
                config.app().proxy, options.proxy, token_given=options.token_hash is not None
            ),
            fixed=options.proxy,
            token_hash=token_hash,
            manager=manager,
            servers=servers,
            settings=config.proxy,
            prompts=prompts,
            http=http,
            clock=SystemClock(),
            state=state,
        )
        browsers = Browsers(url=url, port=port, clock=SystemClock())
        api = _control_app(home, config, manager, state, tasks, proxies, browsers)
        hosts = allowed_hosts(host, port)
        origins = frozenset(f"http://{name}" for name in hosts)
        gate = RequestGate(
            api,
            allowed_hosts=lambda: hosts,
            token=token,
            public_paths=frozenset({LOGIN_PATH}),
            allowed_origins=lambda: origins,
            session=browsers.admits,
            # The token is random: a client left over from an earlier service must not lock out those of this.
            max_failures=None,
        )
        server = HttpServer(gate, listener, websockets=LiveSocket)
        serving = tasks.start(server.run_until_stopped(), name="control-api")
        stack.enter_context(_stop_on_signals(state))
        stack.enter_context(_published(home, url, token))
        if options.owned:
            watch_owner(state.owner_gone)
        log.info("service ready url=%s owned=%s", url, options.owned)
        try:
            async with proxies:
                on_ready(url, ProxyUrls(state.openai.url, state.ollama.url))
                await _until_stop(state, serving, tasks)
        finally:
            state.stop_requested.set()
            await _close_manager(manager, state, tasks)
            server.stop()
            await asyncio.wait((serving,))
    log.info("service ended uptime_s=%.1f", state.uptime_s)


def _control_app(
    home: Home,
    config: LiveConfig,
    manager: RuntimeManager,
    state: ServiceState,
    tasks: TaskOwner,
    proxies: Proxies,
    browsers: Browsers,
) -> ASGIApp:
    probes = EngineProbes()
    return ControlApi(
        manager=manager,
        state=state,
        home=home,
        browsers=browsers,
        config=config.app,
        engine=lambda: describe_engine(config.app().runtime, demo=state.demo, probes=probes),
        engines=lambda: describe_engines(config.app().runtime, demo=state.demo, probes=probes),
        library=manager.library,
        tasks=tasks,
        follow=proxies.follow,
        more=(RoutesApi(table=proxies.host),),
    ).app()


async def _until_stop(state: ServiceState, serving: asyncio.Task[None], tasks: TaskOwner) -> None:
    stop = tasks.start(state.stop_requested.wait(), name="stop-requested")
    await asyncio.wait((stop, serving), return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        # It only ends by itself when it failed.
        serving.result()
        raise ServiceError("The control API stopped by itself.", "See the log, then start the service again.")


async def _close_manager(manager: RuntimeManager, state: ServiceState, tasks: TaskOwner) -> None:
    """Stop every instance; a second request to stop takes away their grace."""
    closing = tasks.start(manager.close(), name="close-instances")
    hurry = tasks.start(state.hurried.wait(), name="hurry")
    await asyncio.wait((closing, hurry), return_when=asyncio.FIRST_COMPLETED)
    hurry.cancel()
    if not closing.done():
        log.warning("asked twice to stop, instances are killed")
        closing.cancel()
    await asyncio.wait((closing,))


@contextlib.contextmanager
def _stop_on_signals(state: ServiceState) -> Iterator[None]:
    undo = install_stop_signals(asyncio.get_running_loop(), state.request_stop)
    try:
        yield
    finally:
        undo()


@contextlib.contextmanager
def _published(home: Home, url: str, token: str) -> Iterator[None]:
    """Keep the run file for as long as the service answers."""
    me = identity(os.getpid())
    if me is None:
        raise ServiceError("The system does not tell this process's start time.", "See the log.")
    content = RunFile(pid=me.pid, create_time=me.create_time, url=url, token=token, version=__version__)
    write_run_file(home, content)
    try:
        yield
    finally:
        remove_run_file(home, content)
