"""Chat and arena against the metronome in its own process: what the wire does is what the turn says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from llama_runner.arena.manager import ArenaManager
from llama_runner.backends.base import Backend, Endpoint, Engine, Target
from llama_runner.backends.live import AnswerLimits, AnswerState
from llama_runner.backends.registry import connect
from llama_runner.chat.manager import ChatManager
from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import LlamaRunnerError, OverloadedError, UnreachableError
from llama_runner.core.trace import TokensSource
from llama_runner.net.client import open_http
from llama_runner.net.ports import pick_free_port
from tests.fakes.metronome import Metronome
from tests.fakes.metronome_plan import Plan

CLOCK: Final = SystemClock()
# Small enough to end a test, large against a loopback answer.
QUICK: Final = AnswerLimits(first_token_s=0.4, idle_s=0.4)


@asynccontextmanager
async def managers(limits: AnswerLimits | None = None) -> AsyncIterator[tuple[ChatManager, ArenaManager]]:
    async with open_http() as http:

        def backend(endpoint: Endpoint) -> Backend:
            return connect(endpoint, http=http, clock=CLOCK)

        chat = ChatManager(connect=backend, clock=CLOCK, limits=lambda: limits or AnswerLimits())
        arena = ArenaManager(connect=backend, clock=CLOCK, limits=lambda: limits or AnswerLimits())
        try:
            yield chat, arena
        finally:
            await chat.close()
            await arena.close()


def asking(metronome: Metronome, plan: Plan, engine: Engine = Engine.LLAMA_SERVER) -> Target:
    return Target(Endpoint(metronome.url, engine), plan.model_id(), plan.id or "metronome")


@pytest.mark.parametrize("engine", [Engine.OPENAI, Engine.LLAMA_SERVER, Engine.OLLAMA, Engine.VLLM])
async def test_a_turn_in_each_dialect_has_text_figures_and_the_source_of_its_counts(
    metronome: Metronome, engine: Engine
) -> None:
    async with managers() as (chat, _):
        turn = await chat.send(
            chat.new_conversation(),
            "?",
            asking(metronome, Plan(prefill_ms=300, tokens=10, gap_ms=50), engine),
        )

    assert turn.text == "w1 w2 w3 w4 w5 w6 w7 w8 w9 w10 "
    assert turn.state is AnswerState.DONE
    assert turn.metrics.output_tokens == 10
    assert turn.metrics.tokens_source in (TokensSource.USAGE, TokensSource.CHUNK_USAGE)
    # Slow enough for a machine that is busy with other tests; those that judge times tell how exact it is.
    assert turn.metrics.ttft_s == pytest.approx(0.3, abs=0.15)
    assert turn.metrics.decode_tps == pytest.approx(20, rel=0.25)


async def test_reasoning_is_kept_apart(metronome: Metronome) -> None:
    async with managers() as (chat, _):
        turn = await chat.send(
            chat.new_conversation(), "?", asking(metronome, Plan(tokens=6, reasoning=4, gap_ms=5))
        )

    assert turn.text == "w5 w6 "
    assert turn.reasoning == "w1 w2 w3 w4 "


async def test_s6_a_cut_stream_is_truncated_and_keeps_its_text(metronome: Metronome) -> None:
    async with managers() as (chat, _):
        turn = await chat.send(chat.new_conversation(), "?", asking(metronome, Plan(tokens=8, cut_at=3)))

    assert turn.state is AnswerState.TRUNCATED
    assert turn.text == "w1 w2 w3 "
    assert turn.error is not None
    assert turn.error.hint


async def test_f22_a_reset_connection_keeps_the_text(metronome: Metronome) -> None:
    async with managers() as (chat, _):
        turn = await chat.send(
            chat.new_conversation(), "?", asking(metronome, Plan(tokens=8, gap_ms=20, reset_at=3))
        )

    assert turn.state is AnswerState.TRUNCATED
    assert turn.text.startswith("w1 ")


async def test_s11_an_error_in_the_stream_is_shown_with_the_partial_text(metronome: Metronome) -> None:
    async with managers() as (chat, _):
        turn = await chat.send(chat.new_conversation(), "?", asking(metronome, Plan(tokens=8, error_at=2)))

    assert turn.state is AnswerState.ERROR
    assert turn.text == "w1 w2 "
    assert turn.error is not None


async def test_s16_pings_for_ever_are_no_tokens(metronome: Metronome) -> None:
    plan = Plan(ping_ms=50, ping_for_ever=True)
    async with managers(QUICK) as (chat, _):
        turn = await chat.send(chat.new_conversation(), "?", asking(metronome, plan, Engine.OPENAI))

    assert turn.state is AnswerState.ERROR
    assert isinstance(turn.error, UnreachableError)


async def test_r4_a_stream_that_stalls_is_given_up_and_keeps_its_text(metronome: Metronome) -> None:
    async with managers(QUICK) as (chat, _):
        turn = await chat.send(chat.new_conversation(), "?", asking(metronome, Plan(tokens=8, stall_at=2)))

    assert (turn.state, turn.text) == (AnswerState.TRUNCATED, "w1 w2 ")


@pytest.mark.parametrize(
    ("status", "kind"), [(503, OverloadedError), (429, OverloadedError), (500, LlamaRunnerError)]
)
async def test_a_refusal_is_an_error_turn_without_text(
    metronome: Metronome, status: int, kind: type[LlamaRunnerError]
) -> None:
    async with managers() as (chat, _):
        turn = await chat.send(chat.new_conversation(), "?", asking(metronome, Plan(status=status)))

    assert turn.state is AnswerState.ERROR
    assert isinstance(turn.error, kind)
    assert turn.text == ""


async def test_a_server_that_is_not_there_is_an_error_turn() -> None:
    gone = Target(Endpoint(f"http://127.0.0.1:{pick_free_port()}", Engine.OPENAI), "m", "m")
    async with managers() as (chat, _):
        turn = await chat.send(chat.new_conversation(), "?", gone)

    assert isinstance(turn.error, UnreachableError)


async def test_stop_closes_the_connection_so_that_the_server_stops_generating(metronome: Metronome) -> None:
    plan = Plan(id="stopped-chat", tokens=10_000, gap_ms=5)
    async with managers() as (chat, _):
        conversation = chat.new_conversation()
        changes = chat.changed.subscribe()
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(chat.send(conversation, "?", asking(metronome, plan)))
            async for _ in changes:
                messages = chat.snapshot(conversation).messages
                if messages and messages[-1].text.count("w") >= 5:
                    break
            await chat.stop(conversation)
        turn = sending.result()

    entry = await asyncio.to_thread(metronome.last, "stopped-chat")
    assert turn.state is AnswerState.STOPPED
    assert turn.text.startswith("w1 w2 ")
    assert turn.metrics.ttft_s is not None
    assert len(entry.sends) < 1_000, "the server went on after the stop"


async def test_an_arena_of_three_where_one_fails_lets_the_others_finish(metronome: Metronome) -> None:
    plans = (
        Plan(id="good-1", tokens=6, gap_ms=20),
        Plan(id="bad", tokens=6, gap_ms=20, error_at=2),
        Plan(id="good-2", tokens=6, gap_ms=20, prefill_ms=100),
    )
    async with managers() as (_, arena):
        result = await arena.compare("?", tuple(asking(metronome, plan) for plan in plans))

    first, bad, last = result.entries
    assert (first.state, bad.state, last.state) == (AnswerState.DONE, AnswerState.ERROR, AnswerState.DONE)
    assert first.text == last.text == "w1 w2 w3 w4 w5 w6 "
    assert bad.text == "w1 w2 "
    assert first.metrics.ttft_s is not None
    assert last.metrics.ttft_s is not None
    assert first.metrics.ttft_s < last.metrics.ttft_s
