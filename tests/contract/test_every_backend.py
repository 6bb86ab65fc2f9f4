"""What every backend promises, on the metronome in each dialect and on a real llama-server."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import httpx
import pytest

from llama_runner.backends.base import Backend
from llama_runner.backends.decode import decode_reads
from llama_runner.backends.events import Finished, RequestSent, Started, StreamEvent, TextDelta
from llama_runner.backends.fold import AnswerFold
from llama_runner.backends.registry import connect, decoder_for
from llama_runner.backends.request import ChatRequest
from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import ContextOverflowError, NotFoundError, RefusedError, UnreachableError
from llama_runner.net.fetch import fetch
from llama_runner.net.load import LoadClient
from llama_runner.net.ports import pick_free_port
from tests.contract.servers import CONTEXT_TOKENS, Server
from tests.fakes.metronome_plan import Plan

# Counts are reported at the end with the stamp of when they arrived.
LATE_REPORTS = ("UsageReport", "TimingsReport")


async def events_of(backend: Backend, request: ChatRequest) -> list[StreamEvent]:
    async with aclosing(backend.stream(request)) as stream:
        return [event async for event in stream]


def folded(events: list[StreamEvent]) -> AnswerFold:
    fold = AnswerFold()
    for event in events:
        fold.add(event)
    return fold


async def test_a_stream_begins_with_sent_and_ends_with_finished(backend: Backend, server: Server) -> None:
    events = await events_of(backend, server.request())
    assert isinstance(events[0], RequestSent)
    assert isinstance(events[1], Started)
    assert isinstance(events[-1], Finished)
    kinds = [type(event) for event in events]
    assert [kinds.count(kind) for kind in (RequestSent, Started, Finished)] == [1, 1, 1]


async def test_stamps_never_go_back(backend: Backend, server: Server) -> None:
    stamps = [
        e.t_ns for e in await events_of(backend, server.request()) if type(e).__name__ not in LATE_REPORTS
    ]
    assert stamps == sorted(stamps)


async def test_every_delta_has_text_and_the_figures_are_whole(backend: Backend, server: Server) -> None:
    # Long enough for a busy machine not to see all of it in one read, which has no speed.
    plan = Plan(tokens=16, prefill_ms=5, gap_ms=50)
    events = await events_of(backend, server.request(max_tokens=16, plan=plan))
    assert all(event.text for event in events if isinstance(event, TextDelta))
    metrics = folded(events).metrics()
    assert metrics.output_tokens == 16
    assert metrics.prompt_tokens is not None and metrics.prompt_tokens > 0
    assert metrics.ttft_s is not None and metrics.e2e_s is not None
    assert 0 < metrics.ttft_s < metrics.e2e_s
    assert metrics.decode_tps is not None and metrics.decode_tps > 0


async def test_the_token_limit_is_kept_and_named(backend: Backend, server: Server) -> None:
    snapshot = folded(await events_of(backend, server.request(max_tokens=5))).snapshot()
    assert snapshot.n_events == 5
    assert snapshot.finish_reason == server.traits.limit_reason


async def test_a_stopped_reader_makes_the_server_stop(backend: Backend, server: Server) -> None:
    plan = Plan(id=f"stopped {server.engine}", prefill_ms=1, tokens=5000, gap_ms=20)
    async with aclosing(backend.stream(server.request(max_tokens=900, plan=plan))) as stream:
        async for event in stream:
            if isinstance(event, TextDelta):
                break
    if server.metronome is not None:
        assert (await asyncio.to_thread(server.metronome.last, plan.id)).ended == "closed by client"
    # With its only slot still busy, a real server would keep this one waiting until the other is done.
    async with asyncio.timeout(5):
        assert folded(await events_of(backend, server.request(max_tokens=1))).snapshot().finished


async def test_cancelling_the_reader_makes_the_server_stop(backend: Backend, server: Server) -> None:
    plan = Plan(id=f"cancelled {server.engine}", prefill_ms=30_000)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await events_of(backend, server.request(max_tokens=900, plan=plan))
    if server.metronome is not None:
        assert (await asyncio.to_thread(server.metronome.last, plan.id)).ended == "closed by client"
    async with asyncio.timeout(5):
        assert folded(await events_of(backend, server.request(max_tokens=1))).snapshot().finished


async def test_a_wrong_key_is_refused_and_named(server: Server, http: httpx.AsyncClient) -> None:
    if not server.traits.keyed:
        pytest.skip("it takes any key")
    for key in ("wrong", None):
        backend = connect(server.endpoint_with(key), http=http, clock=SystemClock())
        with pytest.raises(RefusedError) as caught:
            await events_of(backend, server.request())
        assert server.traits.refusal_text in caught.value.message
        assert "key" in caught.value.hint


async def test_nobody_there_is_unreachable(server: Server, http: httpx.AsyncClient) -> None:
    nowhere = replace(server.endpoint(), base_url=f"http://127.0.0.1:{pick_free_port()}")
    backend = connect(nowhere, http=http, clock=SystemClock())
    with pytest.raises(UnreachableError):
        await events_of(backend, server.request())
    with pytest.raises(UnreachableError):
        await backend.list_models()
    with pytest.raises(UnreachableError):
        await backend.ping()


async def test_models_are_listed_as_the_server_spells_them(backend: Backend, server: Server) -> None:
    assert server.model_id in [model.id for model in await backend.list_models()]


async def test_a_ping_is_quick(backend: Backend) -> None:
    assert 0 < await backend.ping() < 1


async def test_an_unknown_path_is_not_found(
    backend: Backend, server: Server, http: httpx.AsyncClient
) -> None:
    headers = backend.encode(server.request()).headers
    reply = await fetch(http, f"{server.url}/no/such/path", headers=headers)
    if server.traits.not_found_text is None:
        assert "error" in str(reply.json())
        return
    with pytest.raises(NotFoundError, match=server.traits.not_found_text):
        reply.raise_for_status()


async def test_eight_answers_at_once_do_not_mix(backend: Backend, server: Server) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(
                events_of(backend, server.request(max_tokens=4, plan=Plan(tokens=4, word=f"<{n}>")))
            )
            for n in range(8)
        ]
    texts = [folded(task.result()).snapshot().text for task in tasks]
    if server.metronome is not None:
        assert texts == [f"<{n}>" * 4 for n in range(8)]
    assert all(texts)


async def test_a_load_workers_reads_decode_to_the_same_answer(backend: Backend, server: Server) -> None:
    request = server.request(max_tokens=12)
    async with LoadClient(clock=SystemClock()) as client:
        raw = await client.send(backend.encode(request), timeout_s=30)
    answer = decode_reads(decoder_for(server.engine, server.url), raw)
    assert answer.error is None
    streamed = folded(await events_of(backend, request))
    # What could not be sent is known where the request was made.
    assert answer.snapshot() == replace(streamed.snapshot(), not_sent=())
    assert answer.metrics().output_tokens == streamed.metrics().output_tokens == 12
    assert answer.metrics().tokens_source == streamed.metrics().tokens_source


async def test_a_prompt_beyond_the_context_says_so(backend: Backend, server: Server) -> None:
    said = (
        '{"error":{"code":400,"type":"exceed_context_size_error","message":"request (9 tokens) exceeds it"}}'
    )
    request = server.request("colour " * 3 * CONTEXT_TOKENS, plan=Plan(status=400, error_body=said))
    with pytest.raises(ContextOverflowError) as caught:
        await events_of(backend, request)
    assert server.traits.overflow_text in caught.value.message
