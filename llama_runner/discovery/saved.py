"""The servers a person added, on disk. Keys are never written here."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from llama_runner.backends.base import Engine
from llama_runner.core.clock import Clock
from llama_runner.core.errors import StorageError, UsageError
from llama_runner.core.files import read_bounded, write_atomic, write_new
from llama_runner.core.jsonio import JsonValue, dump_json
from llama_runner.core.paths import Home
from llama_runner.net.addresses import parse_server_url

log = logging.getLogger(__name__)

# Thousands of servers; a longer file was not written by us.
MAX_BYTES: Final = 1024 * 1024
FILE_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class SavedServer:
    """One server a person added, with what it was when last seen."""

    url: str
    engine: Engine = Engine.UNKNOWN
    product: str = ""


@dataclass(frozen=True, slots=True)
class _File:
    version: int
    servers: tuple[SavedServer, ...]


_ADAPTER: Final = TypeAdapter(_File)


class SavedServers:
    """Reads and replaces `<data>/servers.json`."""

    def __init__(self, home: Home, clock: Clock) -> None:
        self.path: Path = home.data_dir / "servers.json"
        self._clock = clock

    def load(self) -> tuple[SavedServer, ...]:
        """What was saved. A file that is not understood is copied aside, and counts as empty."""
        try:
            data = read_bounded(self.path, max_bytes=MAX_BYTES)
        except StorageError as error:
            log.warning("saved servers not read reason=%s", error)
            return ()
        if data is None:
            return ()
        try:
            servers = _ADAPTER.validate_json(data).servers
        except ValidationError as error:
            self._put_aside(data)
            log.warning("saved servers not understood errors=%d", error.error_count())
            return ()
        return tuple(server for server in servers if _plain(server.url))

    def save(self, servers: tuple[SavedServer, ...]) -> None:
        """Replace the file. Raises StorageError."""
        listed: list[JsonValue] = [
            {"url": server.url, "engine": str(server.engine), "product": server.product} for server in servers
        ]
        write_atomic(self.path, dump_json({"version": FILE_VERSION, "servers": listed}, indent=2))

    def _put_aside(self, data: bytes) -> None:
        stamp = self._clock.utc().strftime("%Y%m%dT%H%M%SZ")
        aside = self.path.with_name(f"{self.path.name}.corrupt-{stamp}")
        try:
            write_new(aside, data)
        except StorageError as error:
            log.warning("copy of unreadable servers not written reason=%s", error)


def _plain(url: str) -> bool:
    """Whether a saved URL is one we would have written: the file may have been edited by hand."""
    try:
        return parse_server_url(url) == url
    except UsageError:
        log.warning("saved server ignored, its address is not plain")
        return False
