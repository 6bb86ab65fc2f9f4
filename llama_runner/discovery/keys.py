"""The keys of servers: each bound to one scheme, host and port, in the place its owner chose.

Nothing is written in plain text unless a person chose `KeyPlace.FILE`. Keys are never logged.
"""

import asyncio
import logging
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from llama_runner.core.clock import Clock
from llama_runner.core.errors import LlamaRunnerError, StorageError, UsageError
from llama_runner.core.files import read_bounded, write_atomic
from llama_runner.core.jsonio import JsonValue, dump_json
from llama_runner.core.logs import hide_from_logs
from llama_runner.discovery.registry import Removed, ServerRecord, ServerRegistry, ServerSource
from llama_runner.net.keys import is_safe_for_keys, origin_of, parse_api_key
from llama_runner.system.keyrings import KeyringError, SystemKeyring

log = logging.getLogger(__name__)

# Hundreds of keys; a longer file was not written by us.
MAX_BYTES: Final = 1024 * 1024
FILE_VERSION: Final = 1
# After a keyring did not give a key: a locked one asks its user each time, and checks run every minute.
PAUSE_NS: Final = 600 * 1_000_000_000


class KeyPlace(StrEnum):
    """Where a key is kept."""

    MEMORY = "memory"
    KEYRING = "keyring"
    FILE = "file"


class UnencryptedKeyError(UsageError):
    """The key would travel unencrypted to another machine, and nobody agreed to that (R11)."""


@dataclass(frozen=True, slots=True)
class _Saved:
    """One origin's entry in the file: where its key is, and the key itself only when that is here.

    Attributes:
        place: None when only the agreement is kept.
        plain_http: A person agreed to send the key there unencrypted (R11).
    """

    origin: str
    place: KeyPlace | None = None
    key: str | None = field(default=None, repr=False)
    plain_http: bool = False


@dataclass(frozen=True, slots=True)
class _File:
    version: int
    servers: tuple[_Saved, ...]


_ADAPTER: Final = TypeAdapter(_File)


class KeyStore:
    """Keys that outlive the program, by origin (`net.keys.origin_of`), and where each of them is.

    Args:
        folder: Where `keys.json` is, if there ever is one.
        keyring: The system's own when None.
    """

    def __init__(self, folder: Path, clock: Clock, keyring: SystemKeyring | None = None) -> None:
        self.path = folder / "keys.json"
        self._clock = clock
        self._keyring = keyring or SystemKeyring()
        self._paused_until_ns = 0
        self._entries: dict[str, _Saved] | None = None
        # One change of the file at a time.
        self._changing = asyncio.Lock()

    def place(self, origin: str) -> KeyPlace | None:
        """Where the key of an origin is, None when none is kept. Asks no keyring."""
        return self._saved(origin).place

    def agreed_plain_http(self, origin: str) -> bool:
        """Whether a person agreed to send a key there unencrypted."""
        return self._saved(origin).plain_http

    async def get(self, origin: str) -> str | None:
        """The key of an origin, None when none is kept.

        Raises:
            KeyringError: The keyring doesn't give it; for a while it is not asked again.
        """
        saved = self._saved(origin)
        return await self._from_keyring(origin) if saved.place is KeyPlace.KEYRING else saved.key

    async def put(self, origin: str, key: str, place: KeyPlace, *, plain_http: bool = False) -> None:
        """Keep a key there and nowhere else; in memory means: no longer here.

        Args:
            plain_http: What a person agreed to goes with it.

        Raises:
            KeyringError: The keyring cannot take it: the caller asks where else. Nothing has changed.
            StorageError: The file cannot be written or is not understood. Nothing has changed.
        """
        was = self.place(origin)
        if place is KeyPlace.KEYRING:
            await self._keyring.set(_name(origin), key)
            self._paused_until_ns = 0
        in_file = key if place is KeyPlace.FILE else None
        kept = None if place is KeyPlace.MEMORY else place
        try:
            await self._change(_Saved(origin, kept, in_file, plain_http))
        except StorageError:
            if place is KeyPlace.KEYRING and was is not KeyPlace.KEYRING:
                # Nothing would know any more that it is there.
                await self._keyring.delete(_name(origin))
            raise
        if was is KeyPlace.KEYRING and place is not KeyPlace.KEYRING:
            await self._keyring.delete(_name(origin))

    async def forget(self, origin: str) -> None:
        """Remove a key wherever it is, and the agreement about plain HTTP with it.

        Raises:
            KeyringError: It is still in the keyring.
            StorageError: The file cannot be written or is not understood.
        """
        if self.place(origin) is KeyPlace.KEYRING:
            await self._keyring.delete(_name(origin))
        await self._change(_Saved(origin))

    async def _from_keyring(self, origin: str) -> str | None:
        if self._clock.now_ns() < self._paused_until_ns:
            raise KeyringError(
                "The system's keyring did not give the key.", "Unlock it, or give the key again."
            )
        try:
            return await self._keyring.get(_name(origin))
        except KeyringError:
            self._paused_until_ns = self._clock.now_ns() + PAUSE_NS
            raise

    def _saved(self, origin: str) -> _Saved:
        if self._entries is None:
            try:
                self._entries = self._read()
            except StorageError as error:
                log.warning("saved keys not read reason=%s", error)
                self._entries = {}
        return self._entries.get(origin, _Saved(origin))

    async def _change(self, after: _Saved) -> None:
        if after == self._saved(after.origin) == _Saved(after.origin):
            return
        async with self._changing:
            self._entries = await asyncio.to_thread(self._change_now, after)

    def _change_now(self, after: _Saved) -> dict[str, _Saved]:
        # Read anew: the window and a command may both be running.
        before = self._read()
        entries = before | {after.origin: after}
        entries = {origin: saved for origin, saved in entries.items() if saved != _Saved(origin)}
        if entries != before:
            self._write(entries)
        return entries

    def _read(self) -> dict[str, _Saved]:
        data = read_bounded(self.path, max_bytes=MAX_BYTES)
        if data is None:
            return {}
        try:
            servers = _ADAPTER.validate_json(data).servers
        except ValidationError:
            # Neither replaced nor copied aside: it may hold keys, and copies of keys are not made silently.
            # `from None`: the validator quotes what it read.
            raise StorageError(
                f"{self.path} is not understood.", "Mend it, or remove it and give the keys again."
            ) from None
        return {saved.origin: saved for saved in servers}

    def _write(self, entries: dict[str, _Saved]) -> None:
        listed: list[JsonValue] = [
            {"origin": saved.origin, "place": saved.place, "key": saved.key, "plain_http": saved.plain_http}
            for saved in entries.values()
        ]
        write_atomic(self.path, dump_json({"version": FILE_VERSION, "servers": listed}, indent=2))


class ServerKeys:
    """The keys of the servers in the registry: set, forgotten, and fetched before a server is asked.

    The registry holds what this process knows, the store what is kept.
    """

    def __init__(self, *, registry: ServerRegistry, store: KeyStore) -> None:
        self._registry = registry
        self._store = store

    def place(self, server_id: str) -> KeyPlace | None:
        """Where the key of a server is kept, None when it has none. Raises NotFoundError."""
        origin = origin_of(self._registry.known(server_id).base_url)
        return self._store.place(origin) or (KeyPlace.MEMORY if self._registry.has_key(server_id) else None)

    def agreed_plain_http(self, base_url: str) -> bool:
        """Whether a person agreed to send a key there unencrypted, in this run or before."""
        return self._store.agreed_plain_http(origin_of(base_url))

    async def set(self, server_id: str, key: str, place: KeyPlace, *, agreed: bool) -> None:
        """Bind a key to a server, in place of the one it has.

        Args:
            agreed: The person agreed that it travels unencrypted to this other machine; remembered.

        Raises:
            NotFoundError: The server is not known.
            UsageError: It is no key, or the server is a model loaded here, whose key is not a person's.
            UnencryptedKeyError: It would travel unencrypted, and nobody agreed.
            KeyringError: The keyring cannot take it; nothing has changed.
            StorageError: The file cannot be written; nothing has changed.
        """
        record = self._registry.known(server_id)
        if record.source is ServerSource.SERVICE:
            raise UsageError("That server is a model loaded here.", "It has a key of its own.")
        parsed = parse_api_key(key)
        if parsed is None:
            raise UsageError("The key is empty.", "Copy it again, or forget the key this server has.")
        require_agreement(record.base_url, agreed=agreed or self.agreed_plain_http(record.base_url))
        hide_from_logs(parsed)
        plain_http = not is_safe_for_keys(record.base_url)
        await self._store.put(origin_of(record.base_url), parsed, place, plain_http=plain_http)
        self._registry.set_key(server_id, parsed)
        self.show(server_id)

    async def forget(self, server_id: str) -> None:
        """Take a server's key away, wherever it is, and the agreement about plain HTTP with it.

        Raises:
            NotFoundError: The server is not known.
            KeyringError: It is still in the keyring.
            StorageError: It is still in the file.
        """
        await self._store.forget(origin_of(self._registry.known(server_id).base_url))
        self._registry.set_key(server_id, None)
        self.show(server_id)

    async def fetch(self, record: ServerRecord) -> str:
        """Have the registry know a server's key, before the server is asked. Never raises.

        Returns:
            Why the key could not be had, one sentence; empty when it was, or when there is none.
        """
        origin = origin_of(record.base_url)
        if self._registry.has_key(record.id) or self._store.place(origin) is None:
            return ""
        try:
            require_agreement(record.base_url, agreed=self._store.agreed_plain_http(origin))
            found = await self._store.get(origin)
            key = None if found is None else parse_api_key(found)
        except LlamaRunnerError as error:
            log.info("key not fetched url=%s reason=%s", record.base_url, error.message)
            return error.message
        if key is None:
            return "Its key is not where it was kept any more."
        hide_from_logs(key)
        self._registry.set_key(record.id, key)
        return ""

    async def drop(self, base_url: str) -> None:
        """Forget what is kept for a server that is off the list. Raises KeyringError, StorageError."""
        await self._store.forget(origin_of(base_url))

    async def put_back(self, removed: Removed) -> None:
        """Keep the key of a server that came back where it was. Raises KeyringError, StorageError."""
        record = removed.record
        if removed.api_key is not None and record.key_place in tuple(KeyPlace):
            plain_http = not is_safe_for_keys(record.base_url)
            await self._store.put(
                origin_of(record.base_url), removed.api_key, KeyPlace(record.key_place), plain_http=plain_http
            )

    def show(self, server_id: str) -> None:
        """Have the server's record say where its key is."""
        self._registry.edit(server_id, key_place=self.place(server_id) or "")


def require_agreement(base_url: str, *, agreed: bool) -> None:
    """Raise UnencryptedKeyError when a key would travel unread by nobody's leave (R11)."""
    if not agreed and not is_safe_for_keys(base_url):
        raise UnencryptedKeyError(
            f"The key would travel to {base_url} unencrypted.",
            "Use https, or agree to it (on the command line with --yes).",
        )


def _name(origin: str) -> str:
    """What the entry in the keyring is called: people see it in their keyring's own window."""
    return f"llama-runner {origin}"
