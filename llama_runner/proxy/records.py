"""What became of the requests that went through: one record each, the newest kept in memory."""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from llama_runner import __version__
from llama_runner.proxy.figures import Figures

MAX_RECORDS: Final = 500
# In a header: what a name may be made of; the rest is percent-encoded.
_PLAIN: Final = " /:@._+-[]"


@dataclass(frozen=True, slots=True)
class Tried:
    """A step that did not answer a request, and why, one sentence."""

    where: str
    why: str


@dataclass(slots=True)
class RequestRecord:
    """One request on its way; None where it never came to that. No text of prompts or answers.

    Attributes:
        number: Counts requests since the service started.
        queue_s: Waited for its turn.
        load_s: Waited for the model to load.
        upstream_s: From asking the engine to the head of its answer.
        first_byte_s: From the request's arrival to the first byte of the answer's body.
        total_s: From arrival to the end.
        own_s: Of `first_byte_s`, what neither the queue, the load nor the engine took.
        prefill_s: The engine's own time for the prompt.
        decode_s: The engine's own time for the output.
        outcome: "done", "failed", "refused" or "client left".
        step: Who answered, or was asked last: "local" or a server's address.
        tried: The steps before it.
        warning: What is wrong with the context, in words.
        hops: How many proxies like this one it came through.
    """

    number: int
    path: str
    model: str
    started_utc: datetime
    streamed: bool = False
    status: int | None = None
    queue_s: float | None = None
    load_s: float | None = None
    upstream_s: float | None = None
    first_byte_s: float | None = None
    total_s: float | None = None
    bytes_sent: int = 0
    outcome: str = "running"
    error: str | None = None
    step: str | None = None
    tried: tuple[Tried, ...] = ()
    prefill_s: float | None = None
    decode_s: float | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    warning: str | None = None
    hops: int = field(default=0)

    @property
    def own_s(self) -> float | None:
        """Our overhead up to the first byte."""
        if self.first_byte_s is None:
            return None
        spent = (self.queue_s or 0.0) + (self.load_s or 0.0) + (self.upstream_s or 0.0)
        return max(0.0, self.first_byte_s - spent)

    def note(self, told: Figures) -> None:
        """Take over what the end of the answer said."""
        self.prompt_tokens, self.output_tokens = told.prompt_tokens, told.output_tokens
        self.prefill_s, self.decode_s = told.prefill_s, told.decode_s

    def answered_by(self) -> str:
        """The `X-Llama-Runner` header: version, model, the step that answered, what went before it."""
        facts = {
            "model": self.model,
            "step": self.step,
            "attempts": str(len(self.tried) + 1) if self.tried else None,
            "warning": self.warning,
        }
        told = (f"{name}={_quoted(value)}" for name, value in facts.items() if value)
        return "; ".join((__version__, *told))

    def server_timing(self) -> str:
        """The `Server-Timing` header: milliseconds of each step before the answer."""
        steps = {"queue": self.queue_s, "load": self.load_s, "upstream": self.upstream_s}
        known = {name: value for name, value in steps.items() if value is not None}
        return ", ".join(f"{name};dur={value * 1e3:.1f}" for name, value in known.items())


@lru_cache(maxsize=256)
def _quoted(value: str) -> str:
    return quote(value, safe=_PLAIN)


class RequestLog:
    """The newest requests, oldest first."""

    def __init__(self) -> None:
        self._records: deque[RequestRecord] = deque(maxlen=MAX_RECORDS)
        self._count = 0

    @property
    def records(self) -> tuple[RequestRecord, ...]:
        """Those that are kept."""
        return tuple(self._records)

    def begin(self, path: str, model: str, started_utc: datetime, *, streamed: bool) -> RequestRecord:
        """A request arrived."""
        self._count += 1
        record = RequestRecord(self._count, path, model, started_utc, streamed)
        self._records.append(record)
        return record
