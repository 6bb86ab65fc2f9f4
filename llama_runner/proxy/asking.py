"""A step of a route asked once: the model made ready, the question in its dialect, the answer poured out."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from starlette.types import Scope

from llama_runner.backends.base import Engine
from llama_runner.core.clock import seconds
from llama_runner.core.errors import ServerError, UnreachableError, UnsupportedError
from llama_runner.core.jsonio import dump_compact
from llama_runner.net.errors import raise_for_status, status_error
from llama_runner.net.pour import Pouring, Take, open_pouring
from llama_runner.net.stream import WireLike
from llama_runner.proxy import as_chat, bridge
from llama_runner.proxy.calls import Call, Relays
from llama_runner.proxy.chat_reading import chat_request
from llama_runner.proxy.figures import figures, warning_of
from llama_runner.proxy.held import held
from llama_runner.proxy.host import LOCAL, Step, Upstream
from llama_runner.proxy.out import Out
from llama_runner.proxy.prompts import MAX_BYTES
from llama_runner.proxy.records import RequestRecord
from llama_runner.proxy.shorten import share_that_fits

# How many proxies like this one a request may come through: two that know each other would play ball with it.
MAX_HOPS: Final = 3
HOPS_HEADER: Final = "X-Llama-Runner-Hops"
# Not the request's fault: another step may have the model, the key, the time.
_ANOTHER_MAY: Final = frozenset({401, 403, 404, 405, 408, 429, 500, 501, 502, 503, 504, 529})
# What stands between words in a body, line ends and tabs with a backslash: there are hardly more words than
# these. Single bytes are counted at the speed of memory.
_GAPS: Final = (b" ", b"\\")
TOO_LONG: Final = "the prompt does not fit the context"


@dataclass(frozen=True, slots=True)
class Asking:
    """One call and all that belongs to it.

    Attributes:
        keep_s: How long the model stays in memory without work afterwards; None for the default.
    """

    shared: Relays
    call: Call
    record: RequestRecord
    out: Out
    keep_s: float | None


@dataclass(frozen=True, slots=True)
class _Wire:
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    method: str = "POST"


async def ask(one: Asking, step: Step, *, last: bool, limit_s: float | None = None) -> int:
    """Have a step answer.

    Args:
        last: No other step comes after it: its refusal is the client's answer.
        limit_s: How long it may take to begin; None for as long as the connection lives.

    Returns:
        The status of its answer.

    Raises:
        LlamaRunnerError: It did not answer, or broke off.
    """
    shared, record = one.shared, one.record
    # What is wrong with the answer of another step is not wrong with this one.
    record.warning = None
    async with shared.host.use(step.target) as upstream:
        record.load_s = (record.load_s or 0.0) + upstream.load_s
        if step.where == LOCAL:
            shared.host.keep(step.target, one.keep_s)
        if upstream.engine is Engine.LLAMA_SERVER and as_chat.needs_chat(one.call):
            one = replace(one, call=_in_chat(one) or one.call)
        limit = asyncio.timeout(limit_s)
        try:
            async with limit:
                while True:
                    asked_ns = shared.clock.now_ns()
                    wire = _prepared(one, step, upstream)
                    async with open_pouring(shared.http, wire, shared.clock, shared.kept) as answer:
                        record.upstream_s = (record.upstream_s or 0.0) + seconds(
                            answer.t_headers_ns, asked_ns
                        )
                        other = await _answered(one, step, upstream, answer, limit, last=last)
                    if other is None:
                        return answer.status
                    one = replace(one, call=other)
        except TimeoutError as error:
            raise UnreachableError(
                f"{step.where} did not begin to answer within {limit_s:g} s.", "See what keeps it busy."
            ) from error


async def _answered(
    one: Asking, step: Step, upstream: Upstream, answer: Pouring, limit: asyncio.Timeout, *, last: bool
) -> Call | None:
    """The client has its answer; or the call in other words or fewer, to be asked instead."""
    if 200 <= answer.status < 300:
        await _pour(one, answer, limit)
        return None
    body = await answer.error_body()
    if answer.status in as_chat.ABSENT and one.call.path in as_chat.PATHS:
        return await _otherwise(one, step, upstream)
    if answer.status < 400:
        raise_for_status(answer.status, answer.headers, body, step.where)
    error = status_error(answer.status, answer.headers, body, step.where)
    overflows = error.kind == "context_overflow"
    if overflows and step.where == LOCAL and (shorter := _shorter(one, body)) is not None:
        return shorter
    if not last and answer.status in _ANOTHER_MAY:
        raise error
    one.record.error = error.kind
    if overflows:
        one.record.warning = TOO_LONG
    await one.out.refuse(answer.status, body, answer.headers)
    return None


async def _otherwise(one: Asking, step: Step, upstream: Upstream) -> Call | None:
    """For a server without the client's dialect: the same as a chat, or the tokens counted in its own way."""
    shared = one.shared
    if (chat := _in_chat(one)) is not None:
        return chat
    backend = bridge.backend_of(upstream, shared.http, shared.clock)
    counted = await as_chat.counted(one.call, upstream.model_id, backend)
    if counted is None:
        raise UnsupportedError(
            f"{step.where} cannot count tokens without answering.", "Do without the count."
        )
    one.out.take(counted)
    await one.out.drained()
    await one.out.finish()
    return None


def _in_chat(one: Asking) -> Call | None:
    """The same as a chat, whose answer the client's side expects from now on; None for what is none."""
    chat = as_chat.said_as_chat(one.call, one.shared.clock)
    if chat is not None:
        one.out.start_over(chat.writer(one.record))
    return chat


def _shorter(one: Asking, error_body: bytes) -> Call | None:
    conversation = one.call.conversation
    found = None if conversation is None else conversation.shortened(share_that_fits(error_body))
    if found is None:
        return None
    one.record.warning = found.told()
    return replace(one.call, body=dump_compact(dict(found.body)), conversation=found)


async def _pour(one: Asking, answer: Pouring, limit: asyncio.Timeout) -> None:
    """All of the answer; its end is looked at for what it says of itself."""
    before = last = b""
    take_on = one.out.take

    def take(data: bytes) -> bool:
        nonlocal before, last
        if not last:
            limit.reschedule(None)
        before, last = last, data
        return take_on(data)

    with _logged(one, take) as pour_into:
        await answer.pour(pour_into, one.out.drained)
    told = figures(before + last)
    one.record.note(told)
    body = one.call.body
    # Words are counted only where there may be more of them than tokens: counting takes time.
    suspicious = told.prompt_tokens is not None and told.prompt_tokens < sum(map(body.count, _GAPS))
    asked = one.call.document() if suspicious else {}
    cut = warning_of(told, asked, one.call.model.running_context)
    one.record.warning = cut or one.record.warning
    await one.out.finish()


@contextmanager
def _logged(one: Asking, take: Take) -> Iterator[Take]:
    """`take`, listened to while a person wants prompts and answers logged."""
    prompts = one.shared.prompts
    if prompts is None or not one.shared.settings().log_prompts:
        yield take
        return
    heard = bytearray()

    def listen(data: bytes) -> bool:
        # One byte too many tells that it was cut.
        heard.extend(data[: max(0, MAX_BYTES + 1 - len(heard))])
        return take(data)

    try:
        yield listen
    finally:
        prompts.write(one.record, one.call.body, bytes(heard))


def _prepared(one: Asking, step: Step, upstream: Upstream) -> WireLike:
    """The request in the upstream's dialect; the client's side is told when the answer needs translating."""
    call, record = one.call, one.record
    url = upstream.base_url + call.path
    record.warning = bridge.not_told(call.left_out) or record.warning
    if step.where == LOCAL:
        # Under the name it was asked for, which some answers repeat.
        body = held(call.body) if call.form is None else call.form.encoded(upstream.model_id)
        return _Wire(url, _headers(upstream, call), body)
    if record.hops >= MAX_HOPS:
        raise ServerError(
            "This request goes round in circles.", "Look at the routes of each proxy it passes."
        )
    hops = {HOPS_HEADER: str(record.hops + 1)}
    if call.native is not None and call.native.engine is upstream.engine:
        one.out.start_over(call.native.writer(upstream.model_id))
        said = {**call.native.document, "model": upstream.model_id}
        url = upstream.base_url + call.native.path
        return _Wire(url, {**_headers(upstream, call), **hops}, dump_compact(said))
    backend = bridge.backend_of(upstream, one.shared.http, one.shared.clock)
    if not bridge.is_needed(call, upstream.engine):
        headers = _headers(upstream, call)
        if upstream.engine is Engine.ANTHROPIC:
            headers = {**backend.encode(chat_request({})).headers, "Accept": headers["Accept"]}
        return _Wire(url, {**headers, **hops}, _body(call, upstream))
    document = {**call.document(), "model": upstream.model_id}
    wire, writer = bridge.bridged(backend, document, call.writer(record), one.shared.clock)
    one.out.start_over(writer)
    record.warning = bridge.not_told((*call.left_out, *wire.not_sent)) or record.warning
    return _Wire(wire.url, {**wire.headers, **hops}, wire.body)


def _body(call: Call, upstream: Upstream) -> bytes:
    """What another server is sent that speaks the same dialect."""
    if call.form is not None:
        return call.form.encoded(upstream.model_id)
    body = _for_model(call, upstream.model_id)
    return held(body) if upstream.engine is Engine.LLAMA_SERVER else body


def _for_model(call: Call, model_id: str) -> bytes:
    """The body with another model's name in it. Faces write the name first, so mostly nothing is parsed."""
    written, wanted = (dump_compact({"model": name}).removesuffix(b"}") for name in (call.model.id, model_id))
    if call.body.startswith(written + b","):
        return wanted + call.body[len(written) :]
    return dump_compact({**call.document(), "model": model_id})


def hops_of(scope: Scope) -> int:
    """How many proxies like this one a request came through; one that says nonsense has come too far."""
    name = HOPS_HEADER.lower().encode()
    said = next((value for key, value in scope.get("headers", ()) if key == name), b"0")
    return int(said) if said.isdigit() and len(said) <= 2 else MAX_HOPS


def _headers(upstream: Upstream, call: Call) -> dict[str, str]:
    accept = "text/event-stream" if call.streamed else "application/json"
    headers = {"Content-Type": "application/json", "Accept": accept}
    if call.form is not None:
        headers = {"Content-Type": call.form.content_type, "Accept": "*/*"}
    if upstream.api_key:
        headers["Authorization"] = f"Bearer {upstream.api_key}"
    return headers
