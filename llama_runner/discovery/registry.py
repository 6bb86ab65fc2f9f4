"""The one list of known servers. Everything that shows or picks a server reads it; keys stay inside.

Belongs to one event loop; does no I/O.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from llama_runner.backends.base import Endpoint, Engine, Target
from llama_runner.backends.models import ModelInfo
from llama_runner.core.errors import NotFoundError
from llama_runner.core.text import visible_controls
from llama_runner.core.topic import Topic
from llama_runner.net.addresses import is_loopback
from llama_runner.net.keys import origin_of


class ServerStatus(StrEnum):
    """How the last question to a server ended."""

    NOT_CHECKED = "not checked"
    ONLINE = "online"
    OFFLINE = "offline"
    NEEDS_KEY = "needs key"
    ERROR = "error"


class ServerSource(StrEnum):
    """How a server came into the list: a scan, the user, or our own service's instances."""

    FOUND = "found"
    MANUAL = "manual"
    SERVICE = "service"


class Certainty(StrEnum):
    """How sure the engine's name is."""

    CERTAIN = "certain"
    LIKELY = "likely"
    GUESS = "guess"


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """One server as last seen; None where unknown.

    Attributes:
        id: Opaque; stays the same as long as the server does.
        engine: Decides the dialect.
        product: What it calls itself; finer than `engine` ("koboldcpp" speaks as openai-compatible).
        models: Ids as the server spells them: untrusted text, shown through `core.text.visible_controls`.
        latency_s: Of one small request at the last check.
        last_seen_utc: When it last answered as a model server.
        problem: Why it is not simply online, one sentence; empty when it is.
        checked_utc: When it was last asked, whatever came of it; None for what is only remembered.
        changed: Why it may not be the server that was here before, one sentence; empty when nothing speaks
            against it. While it stands, no key is sent there (R11, D13).
        mac: The hardware address seen at its address, for waking it.
        favourite: The person's, like all that follow; `ServerRegistry.edit` sets them, asking a server
            does not.
        note: Plain text.
        trusted: A person confirmed it, and it has not changed since; or it is this machine.
        tls_pin: SHA-256 of the certificate that is accepted, in hex.
        key_place: Where its key is kept (`discovery.keys.KeyPlace`); empty when it has none.
    """

    id: str
    base_url: str
    engine: Engine
    product: str
    certainty: Certainty
    status: ServerStatus
    source: ServerSource
    version: str | None = None
    latency_s: float | None = None
    models: tuple[ModelInfo, ...] = ()
    last_seen_utc: datetime | None = None
    problem: str = ""
    checked_utc: datetime | None = None
    changed: str = ""
    mac: str | None = None
    favourite: bool = False
    note: str = ""
    trusted: bool = False
    tls_pin: str | None = None
    key_place: str = ""

    def __post_init__(self) -> None:
        if self.is_this_machine:
            object.__setattr__(self, "trusted", True)

    @property
    def is_this_machine(self) -> bool:
        """Whether it runs here: one of our own models, or a loopback address."""
        return self.source is ServerSource.SERVICE or is_loopback(self.base_url)

    @property
    def is_marked(self) -> bool:
        """Whether a person said something about it: then it is not forgotten by itself."""
        return self.favourite or bool(self.note)

    @property
    def address(self) -> str:
        """Host and port: what a person recognises, whatever the server calls itself (safety R11)."""
        return self.base_url.partition("://")[2]


# What a person decided about a server; whatever asking it brings, this stays.
PERSONS_FIELDS: Final = ("source", "favourite", "note", "trusted", "tls_pin", "key_place")


@dataclass(frozen=True, slots=True)
class Removed:
    """A server that was taken off the list, with all that putting it back needs."""

    record: ServerRecord
    place: int
    api_key: str | None = field(default=None, repr=False)


class ServerRegistry:
    """Known servers in the order they became known.

    Attributes:
        changes: All records, published after every change.
        revision: Grows with every change.
    """

    def __init__(self) -> None:
        self.changes: Topic[tuple[ServerRecord, ...]] = Topic()
        self.revision = 0
        self._records: dict[str, ServerRecord] = {}
        self._keys: dict[str, str] = {}

    @property
    def records(self) -> tuple[ServerRecord, ...]:
        """All of them."""
        return tuple(self._records.values())

    def get(self, server_id: str) -> ServerRecord | None:
        """One of them, None when it is not known (any more)."""
        return self._records.get(server_id)

    def at(self, base_url: str) -> ServerRecord | None:
        """The server at a normalised base URL; our own instance wins over one that was found."""
        here = [record for record in self._records.values() if record.base_url == base_url]
        return min(here, key=lambda record: record.source is not ServerSource.SERVICE, default=None)

    def upsert(self, record: ServerRecord) -> None:
        """Add a server, or replace what was observed of it.

        What a person decided about a known one stays as it is now (`PERSONS_FIELDS`), and so does its key:
        the record may be from before they decided it. Our own instance takes the place of one that a scan
        found at its address.
        """
        known = self._records.get(record.id)
        if known is not None:
            record = replace(record, **{name: getattr(known, name) for name in PERSONS_FIELDS})
        if record.changed:
            # Who was trusted is not who answers now.
            record = replace(record, trusted=False)
        if record.source is ServerSource.SERVICE:
            self._drop_found(record.base_url)
        self._put(record)

    def edit(self, server_id: str, **changes: Any) -> ServerRecord:
        """Change fields of a known server, a person's own among them. Raises NotFoundError."""
        record = replace(self.known(server_id), **changes)
        self._put(record)
        return record

    def remove(self, server_id: str) -> None:
        """Forget a server and its key. Removing an unknown one does nothing."""
        if server_id in self._records:
            self.take_off(server_id)
        self._keys.pop(server_id, None)

    def take_off(self, server_id: str) -> Removed:
        """Forget a server and its key, so that it can be put back. Raises NotFoundError."""
        record = self.known(server_id)
        place = list(self._records).index(server_id)
        del self._records[server_id]
        self._publish()
        return Removed(record, place, self._keys.pop(server_id, None))

    def restore(self, removed: Removed) -> None:
        """Put a server back where it was, with its key, unless it is known again already."""
        if removed.record.id in self._records:
            return
        records = list(self._records.items())
        records.insert(removed.place, (removed.record.id, removed.record))
        self._records = dict(records)
        if removed.api_key is not None:
            self._keys[removed.record.id] = removed.api_key
        self._publish()

    def set_key(self, server_id: str, api_key: str | None) -> None:
        """Bind a key to a server, or take it away. Kept in memory only."""
        if api_key is None:
            self._keys.pop(server_id, None)
        else:
            self._keys[server_id] = api_key

    def has_key(self, server_id: str) -> bool:
        """Whether a key is bound to it."""
        return server_id in self._keys

    def known(self, server_id: str) -> ServerRecord:
        """One of them. Raises NotFoundError."""
        record = self._records.get(server_id)
        if record is None:
            raise NotFoundError(
                "That server is not in the list any more.", "Scan again, or add it by its URL."
            )
        return record

    def endpoint(self, record: ServerRecord) -> Endpoint:
        """How to speak to a server, with the key that is bound to it, unless it may be another one (D13)."""
        known = self._records.get(record.id, record)
        withheld = bool(record.changed or known.changed)
        key = None if withheld else self._keys.get(record.id)
        return Endpoint(record.base_url, record.engine, key, known.tls_pin)

    def tls_pin_of(self, origin: str) -> str | None:
        """SHA-256 of the one certificate that a person trusts at an origin, None when the rules decide."""
        pinned = (record for record in self._records.values() if record.tls_pin)
        return next((record.tls_pin for record in pinned if origin_of(record.base_url) == origin), None)

    def endpoint_of(self, server_id: str) -> Endpoint:
        """How to speak to a listed server, with its key. Raises NotFoundError."""
        return self.endpoint(self.known(server_id))

    def target(self, server_id: str, model_id: str) -> Target:
        """A model of a server as something to talk to. Raises NotFoundError."""
        record = self.known(server_id)
        return Target(self.endpoint(record), model_id, target_label(record, model_id))

    def _drop_found(self, base_url: str) -> None:
        for record in self.records:
            if record.base_url == base_url and record.source is ServerSource.FOUND:
                self.remove(record.id)

    def _put(self, record: ServerRecord) -> None:
        if self._records.get(record.id) != record:
            self._records[record.id] = record
            self._publish()

    def _publish(self) -> None:
        self.revision += 1
        self.changes.publish(self.records)


def target_label(record: ServerRecord, model_id: str) -> str:
    """The model's name, and where it runs unless our own service runs it."""
    name = visible_controls(model_id)
    return name if record.source is ServerSource.SERVICE else f"{name} · {record.address}"
