"""The listeners of the proxy: one per dialect, each with the request gate in front.

They follow the settings while the service runs, by difference: what stays is not touched, and a listener that
goes answers to the end what it is answering. A busy port costs its dialect only: it is said by name, and
everything else works (F12); a listener that was to move there stays where it was.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from starlette.types import ASGIApp

from llama_runner.core.errors import ConfigError, PortInUseError
from llama_runner.core.tasks import TaskOwner
from llama_runner.net.answering import Spelling
from llama_runner.net.gate import RequestGate
from llama_runner.net.listen import listen_tcp, port_of_socket
from llama_runner.service.addresses import NOT_WANTED, Address, Listening, Wanted, why_not
from llama_runner.service.listener import (
    allowed_hosts,
    busy_sentence,
    is_loopback_host,
    url_host,
    urls_for_others,
)
from llama_runner.service.server import CLOSE_LIMIT_S, HttpServer
from llama_runner.system.identity import listener_of
from llama_runner.system.privileges import runs_as_root

log = logging.getLogger(__name__)

TOKEN_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Dialect:
    """What is spoken at one door.

    Attributes:
        key: Names its options and settings.
        name: Begins a sentence: "The Ollama API".
        spelling: How the gate's refusals are written.
        max_body_bytes: Of one request.
    """

    key: str
    name: str
    app: ASGIApp
    spelling: Spelling
    max_body_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class _Open:
    """A listener that is open."""

    host: str
    port: int
    server: HttpServer

    @property
    def url(self) -> str:
        return f"http://{url_host(self.host)}:{self.port}"


@dataclass(slots=True, eq=False)
class _Door:
    """One dialect, where it is to be spoken, and where it is.

    Attributes:
        address: Where it is to listen; None for nowhere.
        forbidden: Why it may not listen there; None when it may.
        error: Why it could not be opened there; None when it could.
        warning: What a person should know about the listener that is open.
    """

    dialect: Dialect
    fixed: bool
    address: Address | None = None
    forbidden: str | None = None
    error: PortInUseError | ConfigError | None = None
    open: _Open | None = None
    now: Listening = NOT_WANTED
    warning: str = ""


class Doors:
    """Opens and closes listeners between `start` and `close`.

    Args:
        dialects: OpenAI's and Ollama's, in this order.
        fixed: Keys of the dialects whose address the command line said.
        wanted: How the proxy is to listen, as the settings and the command line say now.
        token_hash: Of the access token, None as long as there is none.
        notice: Told a sentence for a person.
        withdraw: Told that a sentence is out of date.
    """

    def __init__(
        self,
        dialects: Sequence[Dialect],
        *,
        fixed: frozenset[str],
        wanted: Callable[[], Wanted],
        token_hash: Callable[[], bytes | None],
        notice: Callable[[str], None],
        withdraw: Callable[[str], None],
        tasks: TaskOwner,
    ) -> None:
        self._doors = tuple(_Door(dialect, dialect.key in fixed) for dialect in dialects)
        self._wanted = wanted
        self._kept_hash = token_hash
        self._notice = notice
        self._withdraw = withdraw
        self._tasks = tasks
        self._rules = wanted()
        self._token_hash = token_hash()
        # Where a token is asked for and none is left: nobody gets in until the listener is closed for it.
        self._unknown_hash = secrets.token_bytes(TOKEN_BYTES)
        self._as_root = runs_as_root()
        self._serving: set[asyncio.Task[None]] = set()
        self._retired: set[HttpServer] = set()
        self._changing = asyncio.Lock()
        self._active = False

    @property
    def now(self) -> tuple[Listening, ...]:
        """What became of each dialect."""
        return tuple(door.now for door in self._doors)

    async def start(self) -> None:
        """Open what is wanted; from now on `follow` does something."""
        self._active = True
        await self.follow()

    async def close(self) -> None:
        """Accept nothing more; what is being answered has a moment to end."""
        async with self._changing:
            self._active = False
            for door in self._doors:
                if door.open is not None:
                    door.open.server.stop()
        if self._retired:
            await asyncio.wait(self._serving, timeout=CLOSE_LIMIT_S)
            for server in self._retired:
                server.cut()
        if self._serving:
            await asyncio.wait(self._serving)

    async def follow(self, again: bool = False) -> None:
        """Open, move and close what is not as it is wanted now.

        Args:
            again: Also try again what could not be opened.
        """
        async with self._changing:
            if not self._active:
                return
            self._rules, self._token_hash = self._wanted(), self._kept_hash()
            changing = [door for door in self._doors if self._take_wish(door) or (again and door.now.problem)]
            for door in changing:
                self._withdraw(door.now.problem)
                if door.address is None or door.forbidden:
                    self._close(door)
            await self._move([door for door in changing if door.address and not door.forbidden])
            for door in changing:
                self._settle(door)
            for door in self._doors:
                self._warn(door)
                # That may change while nothing else does.
                door.now = replace(door.now, needs_token=bool(door.open and self._asks(door.open.host)))

    # --- what is wanted ------------------------------------------------------------------------------------

    def _take_wish(self, door: _Door) -> bool:
        """Whether something else is wanted of a door than before."""
        address: Address | None = getattr(self._rules.addresses, door.dialect.key)
        error = None
        if address is not None:
            error = why_not(
                address[0],
                always_ask_token=self._rules.always_ask_token,
                has_token=self._token_hash is not None,
                as_root=self._as_root,
            )
        forbidden = None if error is None else f"{error.message} {error.hint}"
        changed = (address, forbidden) != (door.address, door.forbidden)
        if changed:
            door.error = None
        door.address, door.forbidden = address, forbidden
        return changed

    def _asks(self, host: str) -> bool:
        return self._rules.always_ask_token or not is_loopback_host(host)

    def _wanted_hash(self, host: str) -> bytes | None:
        """What the gate of a listener compares with, None when it asks for nothing."""
        return (self._token_hash or self._unknown_hash) if self._asks(host) else None

    # --- moving --------------------------------------------------------------------------------------------

    async def _move(self, doors: Sequence[_Door]) -> None:
        """Bring doors where they are wanted; one that cannot get there stays where it is."""
        waiting = [door for door in doors if not await self._open_at_wish(door)]
        # A port may have become free just now.
        tangled = _tangled([door for door in waiting if not await self._open_at_wish(door)])
        before = {door: (door.open.host, door.open.port) for door in tangled if door.open}
        for door in before:
            self._close(door)
        for door in tangled:
            await self._open_at_wish(door)
        for door, address in before.items():
            if door.open is None:
                why = door.error
                await self._open(door, address)
                door.error = why

    async def _open_at_wish(self, door: _Door) -> bool:
        return door.address is not None and await self._open(door, door.address)

    async def _open(self, door: _Door, address: Address) -> bool:
        """Listen at an address, then no more at the one before; False when that is not possible."""
        host, port = address
        try:
            listener = listen_tcp(host, port)
        except (PortInUseError, ConfigError) as error:
            door.error = error
            return False
        door.error = None
        server = await self._serve(door.dialect, host, listener)
        self._close(door)
        door.open = _Open(host, port_of_socket(listener), server)
        log.info("proxy listens dialect=%s url=%s", door.dialect.key, door.open.url)
        return True

    async def _serve(self, dialect: Dialect, host: str, listener: socket.socket) -> HttpServer:
        port = port_of_socket(listener)
        gate = RequestGate(
            dialect.app,
            allowed_hosts=lambda: allowed_hosts(host, port, self._rules.host_names),
            token=lambda: self._wanted_hash(host),
            allowed_origins=lambda: self._rules.origins,
            max_body_bytes=dialect.max_body_bytes,
            spelling=dialect.spelling,
        )
        server = HttpServer(gate, listener)
        task = self._tasks.start(self._run(server, listener), name=f"{dialect.key} API")
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        await server.accepting()
        return server

    async def _run(self, server: HttpServer, listener: socket.socket) -> None:
        with contextlib.closing(listener):
            await server.run_until_stopped()
        self._retired.discard(server)

    def _close(self, door: _Door) -> None:
        opened, door.open = door.open, None
        if opened is not None:
            log.info("proxy listens no more dialect=%s url=%s", door.dialect.key, opened.url)
            opened.server.retire()
            self._retired.add(opened.server)

    # --- what became of it ---------------------------------------------------------------------------------

    def _settle(self, door: _Door) -> None:
        problem = self._problem(door)
        door.now = Listening(
            port=door.address[1] if door.address else None,
            url=door.open.url if door.open else None,
            problem=problem,
            fixed=door.fixed,
            open_to_others=door.open is not None and not is_loopback_host(door.open.host),
        )
        if problem:
            self._notice(problem)

    def _problem(self, door: _Door) -> str:
        """Why a door is not where it is wanted; empty when it is."""
        if door.forbidden or door.address is None or door.error is None:
            return door.forbidden or ""
        in_use = isinstance(door.error, PortInUseError)
        why = _who_has(door.address[1]) if in_use else door.error.message
        state = f"stays at {door.open.url}" if door.open else "is not served"
        return f"{why} {door.dialect.name} {state}: {_advice(door)}, or end that program and try again."

    def _warn(self, door: _Door) -> None:
        """Say that other machines come in, for as long as they do."""
        text = ""
        if door.open and not is_loopback_host(door.open.host):
            urls = urls_for_others(door.open.host, door.open.port)
            text = (
                f"{door.dialect.name} is open to other machines, unencrypted, at "
                f"{', '.join(urls) or door.open.url}: whoever has the access token can use the models here."
            )
        if text != door.warning:
            self._withdraw(door.warning)
            door.warning = text
            if text:
                self._notice(text)


def _tangled(doors: Sequence[_Door]) -> list[_Door]:
    """Doors that stand in each other's way: they swap ports, or one keeps its port and changes its host.

    Who waits for a port of somebody else, or for a door that waits so, is none of them.
    """
    ports: set[int] = set()
    left = list(doors)
    while ports != (now := {door.open.port for door in left if door.open}):
        ports = now
        left = [door for door in left if door.address and door.address[1] in ports]
    return left


def _who_has(port: int) -> str:
    found = listener_of(port)
    if found is not None and found.pid == os.getpid():
        return f"Port {port} is in use by this service itself."
    return busy_sentence(port, found)


def _advice(door: _Door) -> str:
    key = door.dialect.key
    if door.fixed:
        return f"give another port with --{key} HOST:PORT"
    return f"choose another port (proxy.{key}_port)"
