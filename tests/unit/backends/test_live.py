"""One answer from question to figures: what is asked beside it, and what is not."""

import asyncio
import json
from typing import Any

import pytest

from llama_runner.backends import live
from llama_runner.backends.base import Engine
from llama_runner.backends.live import AnswerLimits, AnswerState, AnswerView, LiveAnswer
from llama_runner.backends.request import ChatRequest, Message, Role, SamplingOptions
from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import ContextOverflowError, InvalidRequestError, NotFoundError
from llama_runner.core.trace import TokensSource
from tests.fakes.raw_server import response
from tests.unit.backends.fixed_server import FixedServer, serving
from tests.unit.backends.helpers import DONE, delta, sse

CHAT = "POST /v1/chat/completions"
TOKENIZE = "POST /tokenize"
MODELS = "GET /v1/models"
QUESTION = ChatRequest("qwen", (Message(Role.USER, "Why?"),))


def stream(*documents: Any) -> bytes:
    return response(sse(*documents) + DONE, content_type="text/event-stream")


def refusal(status: str, message: str) -> bytes:
    return response(json.dumps({"error": {"message": message}}).encode(), status=status)


UNCOUNTED = stream(delta(reasoning_content="hm"), delta(content="be"), delta(content="cause"), delta("stop"))


async def ask(
    answers: dict[str, Any], engine: Engine = Engine.LLAMA_SERVER, request: ChatRequest = QUESTION
) -> tuple[AnswerView, FixedServer]:
    async with serving(engine, answers) as (backend, server):
        answer = LiveAnswer(clock=SystemClock(), limits=AnswerLimits(), on_change=lambda: None)
        await answer.run(backend, request)
        return answer.view(), server


async def test_an_answer_that_nobody_counted_is_counted_by_the_servers_tokenizer() -> None:
    """A4: the ladder's third rung; its source is kept, the times stay what they were."""
    view, server = await ask({CHAT: UNCOUNTED, TOKENIZE: {"tokens": [1, 2, 3, 4, 5, 6, 7]}})
    assert view.state is AnswerState.DONE
    assert (view.metrics.output_tokens, view.metrics.tokens_source) == (7, TokensSource.SERVER_TOKENIZER)
    assert view.metrics.ttft_s is not None
    assert server.bodies(TOKENIZE) == [{"model": "qwen", "content": "hmbecause"}]


async def test_an_answer_that_the_server_counted_is_not_counted_again() -> None:
    counted = stream(delta(content="be"), {"choices": [], "usage": {"completion_tokens": 4}})
    view, server = await ask({CHAT: counted, TOKENIZE: {"tokens": [1]}})
    assert (view.metrics.output_tokens, view.metrics.tokens_source) == (4, TokensSource.USAGE)
    assert server.bodies(TOKENIZE) == []


@pytest.mark.parametrize("tokenizer", [{}, {TOKENIZE: {"tokens": "many"}}, {TOKENIZE: response(b"<html>")}])
async def test_without_a_tokenizer_that_answers_chunks_are_counted(tokenizer: dict[str, Any]) -> None:
    view, _ = await ask({CHAT: UNCOUNTED, **tokenizer})
    assert view.state is AnswerState.DONE
    assert (view.metrics.output_tokens, view.metrics.tokens_source) == (3, TokensSource.CHUNKS)


async def test_a_silent_tokenizer_holds_nothing_up_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "ASIDE_TIMEOUT_S", 0.05)
    async with asyncio.timeout(5):
        view, server = await ask({CHAT: UNCOUNTED, TOKENIZE: None})
    assert view.metrics.tokens_source is TokensSource.CHUNKS
    assert len(server.bodies(TOKENIZE)) == 1


async def test_the_answer_has_ended_while_its_tokens_are_being_counted() -> None:
    asked = asyncio.Event()

    def hang(_: object) -> None:
        asked.set()

    async with serving(Engine.LLAMA_SERVER, {CHAT: UNCOUNTED, TOKENIZE: hang}) as (backend, _):
        answer = LiveAnswer(clock=SystemClock(), limits=AnswerLimits(), on_change=lambda: None)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(answer.run(backend, QUESTION))
            await asked.wait()
            assert answer.view().state is AnswerState.DONE
            assert answer.view().metrics.tokens_source is TokensSource.CHUNKS
            running.cancel()
        assert running.cancelled()
        assert answer.view().state is AnswerState.DONE


async def test_figures_that_change_once_more_are_published() -> None:
    seen: list[TokensSource | None] = []

    def note() -> None:
        if answer.state is AnswerState.DONE:
            seen.append(answer.view().metrics.tokens_source)

    async with serving(Engine.LLAMA_SERVER, {CHAT: UNCOUNTED, TOKENIZE: {"tokens": [1]}}) as (backend, _):
        answer = LiveAnswer(clock=SystemClock(), limits=AnswerLimits(), on_change=note)
        await answer.run(backend, QUESTION)
        await asyncio.sleep(0)
    assert seen == [TokensSource.CHUNKS, TokensSource.SERVER_TOKENIZER]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ("404 Not Found", "The model `qwen` does not exist."),
        # A llama-server router.
        ("400 Bad Request", "model 'qwen' not found"),
    ],
)
async def test_an_unknown_model_comes_with_what_the_server_has(status: str, message: str) -> None:
    models = {"data": [{"id": "llama-3"}, {"id": "qwen3-8b"}, {"id": "qwen3-4b"}]}
    view, server = await ask({CHAT: refusal(status, message), MODELS: models})
    assert isinstance(view.error, NotFoundError)
    assert view.error.suggestions == ("qwen3-8b", "qwen3-4b")
    assert "qwen" in view.error.message
    assert view.error.hint == "Did you mean qwen3-8b or qwen3-4b?"
    assert [asked.line for asked in server.asked] == [CHAT, MODELS]


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        (
            {CHAT: refusal("404 Not Found", "no such route"), MODELS: {"data": [{"id": "qwen"}]}},
            NotFoundError,
        ),
        ({CHAT: refusal("404 Not Found", "no such route"), MODELS: {"data": []}}, NotFoundError),
        ({CHAT: refusal("404 Not Found", "no such route")}, NotFoundError),
        (
            {CHAT: refusal("400 Bad Request", "bad seed"), MODELS: {"data": [{"id": "x"}]}},
            InvalidRequestError,
        ),
        (
            {CHAT: refusal("400 Bad Request", "exceeds the available context size")},
            ContextOverflowError,
        ),
    ],
)
async def test_other_refusals_stay_as_they_are(answers: dict[str, Any], kind: type[Exception]) -> None:
    view, _ = await ask(answers)
    assert type(view.error) is kind
    assert not getattr(view.error, "suggestions", ())


async def test_an_answer_stopped_while_models_are_looked_up_is_stopped() -> None:
    asked = asyncio.Event()

    def hang(_: object) -> None:
        asked.set()

    answers = {CHAT: refusal("404 Not Found", "no such model"), MODELS: hang}
    async with serving(Engine.OPENAI, answers) as (backend, _), asyncio.TaskGroup() as group:
        answer = LiveAnswer(clock=SystemClock(), limits=AnswerLimits(), on_change=lambda: None)
        running = group.create_task(answer.run(backend, QUESTION))
        await asked.wait()
        running.cancel()
    assert (answer.view().state, answer.view().error) == (AnswerState.STOPPED, None)


async def test_a_model_list_that_hangs_does_not_hold_the_error_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "ASIDE_TIMEOUT_S", 0.05)
    view, _ = await ask({CHAT: refusal("404 Not Found", "no such model"), MODELS: None})
    assert isinstance(view.error, NotFoundError)
    assert view.error.suggestions == ()


async def test_ollama_takes_a_name_without_its_tag_for_the_latest() -> None:
    answers = {
        "POST /api/chat": refusal("404 Not Found", "file not found"),
        "GET /api/tags": {"models": [{"name": "qwen:latest"}]},
    }
    view, _ = await ask(answers, Engine.OLLAMA)
    assert isinstance(view.error, NotFoundError)
    assert view.error.suggestions == ()


async def test_what_could_not_be_sent_is_told_from_the_first_event_on() -> None:
    options = SamplingOptions(top_k=5, keep_alive_s=60)
    request = ChatRequest("m", (Message(Role.USER, "?"),), options)
    view, _ = await ask({CHAT: UNCOUNTED}, Engine.OPENAI, request)
    assert view.not_sent == ("top_k", "keep_alive_s")
