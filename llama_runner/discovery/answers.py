"""One collected probe answer, and what can be read out of it safely."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from llama_runner.core.jsonio import JsonRejected, JsonValue, parse_json
from llama_runner.net.fetch import MAX_REPLY_BYTES

# Enough for every marker that is looked for in a text answer.
_TEXT_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """What one GET brought. Making one parses the body: a large one is made on a thread.

    Attributes:
        status: None when no complete HTTP answer came; `failure` then says why.
        headers: Names in lower case.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    failure: str = ""
    _document: JsonValue = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Once and not at every question: the rules ask a dozen, and a large body takes its time.
        object.__setattr__(self, "_document", self._parsed())

    @property
    def ok(self) -> bool:
        """Status 2xx."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def refused(self) -> bool:
        """It wants a key, or another one."""
        return self.status in (401, 403)

    @property
    def asks_for_login(self) -> bool:
        """A router's or a printer's own login, which no model server uses."""
        scheme = self.headers.get("www-authenticate", "").lower()
        return scheme.startswith(("basic", "digest", "ntlm", "negotiate"))

    @property
    def text(self) -> str:
        """The beginning of the body."""
        return self.body[:_TEXT_BYTES].decode("utf-8", errors="replace")

    def document(self) -> JsonValue:
        """The body of a 2xx answer as JSON, None when it is none."""
        return self._document

    def object(self) -> Mapping[str, JsonValue]:
        """The body of a 2xx answer as a JSON object, empty when it is none."""
        document = self.document()
        return document if isinstance(document, dict) else {}

    @property
    def lists_models(self) -> bool:
        """A `data` list; null where Ollama has no model (with its `object`), not any JSON object."""
        document = self.object()
        data = document.get("data")
        if data is None:
            return "data" in document and document.get("object") == "list"
        return isinstance(data, list) and all(isinstance(item, dict) and "id" in item for item in data[:5])

    @property
    def first_model(self) -> Mapping[str, JsonValue]:
        """The first entry of a `data` list, empty when there is none."""
        data = self.object().get("data")
        first = data[0] if isinstance(data, list) and data else None
        return first if isinstance(first, dict) else {}

    def refusal(self) -> Mapping[str, JsonValue]:
        """A short answer of another status as a JSON object, empty when it is none."""
        if self.ok or len(self.body) > _TEXT_BYTES:
            return {}
        try:
            document = parse_json(self.body, max_bytes=_TEXT_BYTES)
        except JsonRejected:
            return {}
        return document if isinstance(document, dict) else {}

    def _parsed(self) -> JsonValue:
        if not self.ok:
            return None
        try:
            return parse_json(self.body, max_bytes=MAX_REPLY_BYTES)
        except JsonRejected:
            return None
