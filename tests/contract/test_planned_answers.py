"""What every backend makes of answers that only the metronome can give on demand."""

from contextlib import aclosing
from dataclasses import replace

import pytest

from llama_runner.backends.base import Backend
from llama_runner.backends.events import PromptProgress
from llama_runner.backends.fold import AnswerFold
from llama_runner.core.errors import (
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    ProtocolError,
    RefusedError,
    ServerError,
    TruncatedError,
)
from llama_runner.core.trace import TokensSource
from tests.contract.servers import Server
from tests.fakes.metronome_plan import Plan


async def ask(backend: Backend, server: Server, plan: Plan) -> AnswerFold:
    """The answer to a plan, with the error that ended it."""
    fold = AnswerFold()
    request = replace(server.request(max_tokens=10_000, plan=plan))
    try:
        async with aclosing(backend.stream(request)) as stream:
            async for event in stream:
                fold.add(event)
    except ServerError as error:
        fold.fail(error, 0)
    return fold


def words(first: int, last: int) -> str:
    return "".join(f"w{number} " for number in range(first, last + 1))


async def test_the_text_is_whole(planned_backend: Backend, planned: Server) -> None:
    snapshot = (await ask(planned_backend, planned, Plan(tokens=20))).snapshot()
    assert snapshot.text == words(1, 20)
    assert (snapshot.finished, snapshot.finish_reason) == (True, "stop")


@pytest.mark.parametrize("size", [1, 2, 7])
async def test_pieces_on_the_wire_change_nothing(
    planned_backend: Backend, planned: Server, size: int
) -> None:
    """S1, T5: on a real connection."""
    answer = await ask(planned_backend, planned, Plan(tokens=12, reasoning=3, fragment=size))
    assert answer.error is None
    assert (answer.snapshot().reasoning, answer.snapshot().text) == (words(1, 3), words(4, 12))


async def test_reasoning_and_answer_are_kept_apart(planned_backend: Backend, planned: Server) -> None:
    """T6."""
    # Wide enough that a busy machine does not read the first thought and the first word at once.
    answer = await ask(planned_backend, planned, Plan(tokens=10, reasoning=4, gap_ms=20))
    snapshot, metrics = answer.snapshot(), answer.metrics()
    assert (snapshot.reasoning, snapshot.text) == (words(1, 4), words(5, 10))
    assert metrics.ttft_s is not None and metrics.ttfat_s is not None
    assert metrics.ttfat_s > metrics.ttft_s
    assert metrics.reasoning_tokens == (4 if planned.traits.counts_reasoning else None)


async def test_an_answer_that_ends_inside_its_reasoning_has_no_text(
    planned_backend: Backend, planned: Server
) -> None:
    """T6."""
    answer = await ask(planned_backend, planned, Plan(tokens=10, reasoning=10))
    assert answer.snapshot().text == ""
    assert answer.metrics().ttfat_s is None
    assert answer.metrics().output_tokens == 10


async def test_tool_calls_are_tokens_too(planned_backend: Backend, planned: Server) -> None:
    snapshot = (await ask(planned_backend, planned, Plan(tokens=3, tool_call=True))).snapshot()
    assert [(call.name, call.arguments) for call in snapshot.tool_calls] == [("clock", '{"zone": "UTC"}')]
    assert snapshot.n_events == 2 + planned.traits.call_events


async def test_an_error_in_the_stream_keeps_the_text(planned_backend: Backend, planned: Server) -> None:
    """S11."""
    answer = await ask(planned_backend, planned, Plan(tokens=20, error_at=5))
    assert answer.snapshot().text == words(1, 5)
    assert type(answer.error) is ServerError
    assert "failed as planned" in answer.error.message


@pytest.mark.parametrize("at", [0, 5])
async def test_an_end_without_its_marker_is_truncated(
    planned_backend: Backend, planned: Server, at: int
) -> None:
    """S6."""
    answer = await ask(planned_backend, planned, Plan(tokens=20, cut_at=at))
    assert answer.snapshot().text == words(1, at)
    assert not answer.snapshot().finished
    assert isinstance(answer.error, TruncatedError)


async def test_a_reset_connection_is_truncated(planned_backend: Backend, planned: Server) -> None:
    answer = await ask(planned_backend, planned, Plan(tokens=20, gap_ms=5, reset_at=5))
    assert isinstance(answer.error, TruncatedError)
    assert answer.snapshot().text == words(1, 5)


@pytest.mark.parametrize(
    ("usage", "counted", "source"),
    [
        ("final", 12, TokensSource.USAGE),
        ("wrong", 6, TokensSource.USAGE),
        ("none", 4, TokensSource.CHUNKS),
        ("per_chunk", 12, TokensSource.CHUNK_USAGE),
    ],
)
async def test_the_best_source_of_token_counts_is_taken_and_named(
    planned_backend: Backend, planned: Server, usage: str, counted: int, source: TokensSource
) -> None:
    """T4, T7."""
    metrics = (
        await ask(planned_backend, planned, Plan(tokens=12, tokens_per_chunk=3, usage=usage))
    ).metrics()
    if usage in ("final", "wrong"):
        source = planned.traits.counts  # some count in every chunk when asked to
    if usage == "per_chunk" and not planned.traits.counts_per_chunk:
        source = TokensSource.USAGE
    assert (metrics.output_tokens, metrics.tokens_source) == (counted, source)


async def test_prefill_progress_is_no_token(planned_backend: Backend, planned: Server) -> None:
    plan = Plan(tokens=3, prefill_ms=40, progress=3)
    seen = [
        e async for e in planned_backend.stream(planned.request(plan=plan)) if isinstance(e, PromptProgress)
    ]
    expected = [3, 6, 9] if planned.traits.reports_progress else []
    assert [event.processed for event in seen] == expected


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequestError),
        (401, RefusedError),
        (404, NotFoundError),
        (429, OverloadedError),
        (500, ServerError),
        (503, OverloadedError),
        (307, ProtocolError),
    ],
)
async def test_each_status_has_its_error(
    planned_backend: Backend, planned: Server, status: int, kind: type[ServerError]
) -> None:
    plan = Plan(
        id=f"{planned.engine} {status}", status=status, retry_after="2", location="/v1/chat/completions"
    )
    answer = await ask(planned_backend, planned, plan)
    assert type(answer.error) is kind
    if isinstance(answer.error, OverloadedError):
        assert answer.error.retry_after_s == 2
    assert planned.metronome is not None
    # Never repeated, never followed (D10).
    assert len(planned.metronome.log(plan.id)) == 1


async def test_a_web_page_instead_of_a_stream_is_refused(planned_backend: Backend, planned: Server) -> None:
    """S17."""
    answer = await ask(planned_backend, planned, Plan(content_type="text/html; charset=utf-8"))
    assert isinstance(answer.error, ProtocolError)
    assert "web page" in answer.error.message
