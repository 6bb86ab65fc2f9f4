"""Known servers on disk: what a person added or decided, and what was last seen of each. Never a key.

The window and a command may both have it open: whoever writes brings in what the other one wrote.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from llama_runner.backends.base import Engine
from llama_runner.core.clock import Clock
from llama_runner.core.errors import StorageError, UsageError
from llama_runner.core.files import read_bounded, write_atomic, write_new
from llama_runner.core.jsonio import JsonRejected, JsonValue, dump_json, parse_json
from llama_runner.core.paths import Home
from llama_runner.discovery.merging import merge
from llama_runner.discovery.registry import Certainty, ServerRecord, ServerSource, ServerStatus
from llama_runner.net.addresses import parse_server_url
from llama_runner.system.locks import exclusive

log = logging.getLogger(__name__)

# Hundreds of servers with all their models; a longer file was not written by us.
MAX_BYTES: Final = 4 * 1024 * 1024
FILE_VERSION: Final = 2
# Enough to show at the start what a server offers; its whole list comes with the first check.
MAX_MODELS: Final = 200
# A server that a scan found and nobody has seen for so long is not ours to remember.
KEEP_FOUND: Final = timedelta(days=30)

# How it is now is for a check to say; the rest says where it is.
_NOT_SAVED: Final = frozenset({"id", "base_url", "status", "problem", "checked_utc", "key_place"})
_RECORD: Final = TypeAdapter(ServerRecord)


class SavedServers:
    """Reads and replaces `<data>/servers.json`. Blocks; one thread at a time."""

    def __init__(self, home: Home, clock: Clock) -> None:
        self.path: Path = home.data_dir / "servers.json"
        self._clock = clock
        self._base: tuple[ServerRecord, ...] = ()
        self._put_aside_already: bytes | None = None

    def load(self) -> tuple[ServerRecord, ...]:
        """What was saved, not checked yet. What is not understood is copied aside and left out."""
        try:
            self._base = self._read()
        except StorageError as error:
            log.warning("saved servers not read reason=%s", error)
        oldest = self._clock.utc() - KEEP_FOUND
        return tuple(record for record in self._base if _is_worth_keeping(record, oldest))

    def keep(self, mine: tuple[ServerRecord, ...]) -> tuple[ServerRecord, ...]:
        """Write the list; returns it with what another program wrote since we last looked.

        Raises:
            StorageError: Nothing was changed. So it is with a file that cannot be read.
        """
        with exclusive(self.path, self.path.with_name("servers.lock")):
            theirs = self._read()
            merged = merge(self._base, mine, theirs)
            data = _document(merged)
            if data != _document(theirs):
                write_atomic(self.path, data)
        self._base = merged
        return merged

    def _read(self) -> tuple[ServerRecord, ...]:
        data = read_bounded(self.path, max_bytes=MAX_BYTES)
        if data is None:
            return ()
        try:
            entries = _entries(data)
        except JsonRejected as error:
            self._put_aside(data, str(error))
            return ()
        records = {record.id: record for entry in entries if (record := _record(entry)) is not None}
        if len(records) < len(entries):
            self._put_aside(data, f"{len(entries) - len(records)} of {len(entries)} entries")
        return tuple(records.values())

    def _put_aside(self, data: bytes, why: str) -> None:
        """Keep a copy of what the next write will not hold. Raises StorageError."""
        if data == self._put_aside_already:
            return
        stamp = self._clock.utc().strftime("%Y%m%dT%H%M%S%fZ")
        aside = self.path.with_name(f"{self.path.name}.corrupt-{stamp}")
        write_new(aside, data)
        self._put_aside_already = data
        log.warning("saved servers not understood what=%s copy=%s", why, aside.name)


def _entries(data: bytes) -> list[JsonValue]:
    """The entries of a file of any version of ours. Raises JsonRejected."""
    document = parse_json(data, max_bytes=MAX_BYTES)
    servers = document.get("servers") if isinstance(document, dict) else None
    if not isinstance(servers, list):
        raise JsonRejected("it holds no list of servers")
    return servers


def _record(entry: JsonValue) -> ServerRecord | None:
    """One entry as a record, None when it is none that we would have written.

    Version 1 had url, engine and product of servers that were added by hand.
    """
    if not isinstance(entry, dict) or not isinstance(url := entry.get("url"), str) or not _is_plain(url):
        return None
    known: dict[str, Any] = {
        "source": ServerSource.MANUAL,
        "certainty": Certainty.GUESS,
        "product": "",
        **entry,
    }
    if known.get("engine") not in set(Engine):
        # A newer version knew it; the next check names it again.
        known["engine"] = Engine.UNKNOWN
    known |= {"id": url, "base_url": url, "status": ServerStatus.NOT_CHECKED}
    try:
        record = _RECORD.validate_python(known)
    except ValidationError as error:
        log.info("saved server ignored errors=%d", error.error_count())
        return None
    seen = record.last_seen_utc
    if record.source is ServerSource.SERVICE or (seen is not None and seen.tzinfo is None):
        return None
    return replace(record, problem="", checked_utc=None)


def _is_plain(url: str) -> bool:
    """Whether a saved URL is one we would have written: the file may have been edited by hand."""
    try:
        return parse_server_url(url) == url
    except UsageError:
        log.warning("saved server ignored, its address is not plain")
        return False


def _is_worth_keeping(record: ServerRecord, oldest: datetime) -> bool:
    if record.source is not ServerSource.FOUND or record.is_marked:
        return True
    return record.last_seen_utc is not None and record.last_seen_utc > oldest


def _document(records: tuple[ServerRecord, ...]) -> bytes:
    """The file's bytes; without the models, or without what was only found, when they make it too long."""
    added = tuple(r for r in records if r.source is not ServerSource.FOUND or r.is_marked)
    for kept, most_models in ((records, MAX_MODELS), (records, 0), (added, 0)):
        listed = [_entry(record, most_models) for record in kept]
        data = dump_json({"version": FILE_VERSION, "servers": listed}, indent=2)
        if len(data) <= MAX_BYTES:
            break
    return data


def _entry(record: ServerRecord, most_models: int) -> JsonValue:
    shortened = replace(record, models=record.models[:most_models])
    fields: Mapping[str, JsonValue] = _RECORD.dump_python(
        shortened, mode="json", exclude=set(_NOT_SAVED), exclude_defaults=True
    )
    return {"url": record.base_url, **fields}
