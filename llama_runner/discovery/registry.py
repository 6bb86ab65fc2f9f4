"""The one list of known servers. Everything that shows or picks a server reads it; keys stay inside.

Belongs to one event loop; does no I/O.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from llama_runner.backends.base import Endpoint, Engine, Target
from llama_runner.backends.models import ModelInfo
from llama_runner.core.errors import NotFoundError
from llama_runner.core.text import visible_controls
from llama_runner.core.topic import Topic


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
        problem: Why it is not simply online, one sentence; empty when it is.
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

    @property
    def address(self) -> str:
        """Host and port: what a person recognises, whatever the server calls itself (safety R11)."""
        return self.base_url.partition("://")[2]


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
        """Add the server or replace what is known of it. Its key stays."""
        if self._records.get(record.id) != record:
            self._records[record.id] = record
            self._publish()

    def remove(self, server_id: str) -> None:
        """Forget a server and its key. Removing an unknown one does nothing."""
        self._keys.pop(server_id, None)
        if self._records.pop(server_id, None) is not None:
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
        """How to speak to a server, with the key that is bound to it."""
        return Endpoint(record.base_url, record.engine, self._keys.get(record.id))

    def endpoint_of(self, server_id: str) -> Endpoint:
        """How to speak to a listed server, with its key. Raises NotFoundError."""
        return self.endpoint(self.known(server_id))

    def target(self, server_id: str, model_id: str) -> Target:
        """A model of a server as something to talk to. Raises NotFoundError."""
        record = self.known(server_id)
        return Target(self.endpoint(record), model_id, target_label(record, model_id))

    def _publish(self) -> None:
        self.revision += 1
        self.changes.publish(self.records)


def target_label(record: ServerRecord, model_id: str) -> str:
    """The model's name, and where it runs unless our own service runs it."""
    name = visible_controls(model_id)
    return name if record.source is ServerSource.SERVICE else f"{name} · {record.address}"
