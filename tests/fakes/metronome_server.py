"""The metronome's connections: one timer each, every write stamped just before it happens."""

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from tests.fakes.metronome_manners import Ask, Manners, Reply
from tests.fakes.metronome_plan import Plan, plan_of
from tests.fakes.metronome_schedule import Step, schedule

# Requests kept in the log: more than any test sends.
LOG_LENGTH: Final = 20_000
REASONS: Final = {200: "OK", 302: "Found", 404: "Not Found", 500: "Internal Server Error"}


@dataclass(slots=True)
class Entry:
    """What happened to one chat request.

    Attributes:
        sends: Stamp and tokens of every token-bearing write; the stamp is taken just before the write.
        ended: sent, closed by client, cut, reset.
        authorization: The credential as it came, None without one.
    """

    id: str
    path: str
    received_ns: int
    head_ns: int | None = None
    first_ns: int | None = None
    last_ns: int | None = None
    end_ns: int | None = None
    ended: str | None = None
    sends: list[tuple[int, int]] = field(default_factory=list)
    authorization: str | None = None
    user_agent: str | None = None
    body: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """A request as read from the socket."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    received_ns: int
    received_s: float

    def document(self) -> dict[str, Any]:
        """The body, empty where it is no JSON object."""
        try:
            document = json.loads(self.body or b"{}")
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}


class Server:
    """State shared by all connections."""

    def __init__(self, *, manners: Manners, default: Plan) -> None:
        self.manners = manners
        self.default = default
        self.entries: deque[Entry] = deque(maxlen=LOG_LENGTH)
        self.in_flight = 0
        self.max_in_flight = 0
        self._waiters: list[Callable[[], bool]] = []

    def ended(self, entry: Entry, how: str) -> None:
        """Close the entry and answer whoever waits for it."""
        if entry.ended is None:
            entry.ended, entry.end_ns = how, time.perf_counter_ns()
            self.in_flight -= 1
            self._waiters = [waiter for waiter in self._waiters if not waiter()]

    def log(self, wanted: str | None, answer: Callable[[bytes], None], *, wait: bool) -> None:
        """Answer with the entries of that id, now or once the newest of them has ended."""

        def try_now() -> bool:
            found = [entry for entry in self.entries if wanted is None or entry.id == wanted]
            if wait and (not found or found[-1].ended is None):
                return False
            answer(json.dumps([asdict(entry) for entry in found]).encode())
            return True

        if not try_now():
            self._waiters.append(try_now)


class Connection(asyncio.Protocol):
    """One connection: reads requests, writes answers at their times. No tasks, one timer."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._buffer = bytearray()
        self._received: tuple[int, float] | None = None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._steps: Iterator[Step] = iter(())
        self._next: Step | None = None
        self._entry: Entry | None = None
        self._started_s = 0.0
        self._fragment = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._entry is not None:
            self._server.ended(self._entry, "closed by client")
        self._transport = None

    def data_received(self, data: bytes) -> None:
        if self._received is None:
            self._received = (time.perf_counter_ns(), self._loop.time())
        self._buffer += data
        request = self._take_request()
        if request is not None:
            self._received = None
            self._answer(request)

    def _take_request(self) -> Request | None:
        head, separator, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        if not separator or self._received is None:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return None
        self._buffer = bytearray(rest[length:])
        method, target, _ = first.split(" ", 2)
        parts = urlsplit(target)
        query = parse_qs(parts.query)
        return Request(method, parts.path, query, headers, rest[:length], *self._received)

    # --- answers at once ---

    def _answer(self, request: Request) -> None:
        if request.path == "/metronome/log":
            wanted = request.query.get("id", [None])[0]
            self._server.log(wanted, self._json, wait="wait" in request.query)
        elif request.path == "/metronome/load":
            load = {"in_flight": self._server.in_flight, "max_in_flight": self._server.max_in_flight}
            self._json(json.dumps(load).encode())
        else:
            self._answer_as_engine(request)

    def _answer_as_engine(self, request: Request) -> None:
        ask = Ask(request.method, request.path, request.query, request.headers, request.document())
        manners = self._server.manners
        if (refused := manners.refusal(ask)) is not None:
            self._reply(refused)
        elif manners.streams(ask):
            self._chat(request, ask)
        else:
            self._reply(manners.answer(ask))

    def _reply(self, reply: Reply) -> None:
        if isinstance(reply.document, str):
            self._whole(reply.document.encode(), reply.status, "text/plain")
        else:
            self._json(json.dumps(reply.document).encode(), reply.status)

    def _json(self, body: bytes, status: int = 200, more: dict[str, str] | None = None) -> None:
        self._whole(body, status, "application/json", more)

    def _whole(
        self, body: bytes, status: int = 200, content_type: str = "", more: dict[str, str] | None = None
    ) -> None:
        headers = {"Content-Type": content_type, "Content-Length": str(len(body)), **(more or {})}
        if self._transport is not None:
            self._transport.write(self._head(status, headers) + body)

    def _head(self, status: int, headers: dict[str, str]) -> bytes:
        headers = {**self._server.manners.headers, **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}\r\n{lines}\r\n".encode()

    # --- answers on a schedule ---

    def _chat(self, request: Request, ask: Ask) -> None:
        body = dict(ask.body)
        plan = plan_of(body, self._server.default)
        entry = Entry(
            id=plan.id or request.headers.get("x-request-id", ""),
            path=request.path,
            received_ns=request.received_ns,
            authorization=request.headers.get("authorization") or request.headers.get("x-api-key"),
            user_agent=request.headers.get("user-agent"),
            body=body,
        )
        self._server.entries.append(entry)
        self._server.in_flight += 1
        self._server.max_in_flight = max(self._server.max_in_flight, self._server.in_flight)
        if plan.status != 200:
            self._refuse(plan)
            self._server.ended(entry, "sent")
            return
        dialect = self._server.manners.dialect(ask)
        self._entry = entry
        self._started_s = request.received_s + plan.shift_ms / 1e3
        self._fragment = plan.fragment
        self._steps = schedule(plan, dialect)
        self._next = next(self._steps)
        head = {
            "Content-Type": plan.content_type or dialect.content_type,
            "Transfer-Encoding": "chunked",
        }
        self._steps = chain((self._next,), self._steps)
        self._next = Step(self._next.due_s, self._head(200, head))
        self._run()

    def _refuse(self, plan: Plan) -> None:
        error = json.dumps({"error": {"message": "as planned", "code": plan.status}})
        more = {"Location": plan.location, "Retry-After": plan.retry_after}
        body = error if plan.error_body is None else plan.error_body
        self._json(
            body.encode(), plan.status, {name: value for name, value in more.items() if value is not None}
        )

    def _run(self) -> None:
        """Write what is due and set the timer for the next step."""
        while self._next is not None and self._transport is not None:
            wait_s = self._started_s + self._next.due_s - self._loop.time()
            if wait_s > 0:
                self._timer = self._loop.call_later(wait_s, self._run)
                return
            self._do(self._next)
            self._next = next(self._steps, None)

    def _do(self, step: Step) -> None:
        entry, transport = self._entry, self._transport
        assert entry is not None and transport is not None
        now_ns = time.perf_counter_ns()
        if step.tokens:
            entry.first_ns = entry.first_ns or now_ns
            entry.last_ns = now_ns
            entry.sends.append((now_ns, step.tokens))
        if entry.head_ns is None:
            entry.head_ns = now_ns
            transport.write(step.data)
        elif step.data:
            self._write_chunks(step.data)
        if step.action == "reset":
            transport.abort()
        elif step.action in ("sent", "cut"):
            transport.write(b"0\r\n\r\n")
        if step.action and step.action != "stall":
            self._server.ended(entry, step.action)
            self._entry = None

    def _write_chunks(self, data: bytes) -> None:
        assert self._transport is not None
        size = self._fragment or len(data)
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
