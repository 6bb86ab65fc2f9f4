"""What every backend makes of everything but a chat: details, loading, embeddings, counting."""

import json
import math
from contextlib import aclosing
from dataclasses import MISSING, fields, replace

import pytest

from llama_runner.backends.base import Backend
from llama_runner.backends.events import RequestSent
from llama_runner.backends.fold import AnswerFold
from llama_runner.backends.live import AnswerLimits, AnswerState, LiveAnswer
from llama_runner.backends.models import ModelInfo
from llama_runner.backends.request import ChatRequest, Image, JsonOutput, Message, Role, SamplingOptions
from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import NotFoundError, ServerError, UnsupportedError
from llama_runner.core.trace import TokensSource
from tests.contract.servers import Server
from tests.fakes.metronome_plan import Plan

TEXT = "The quick brown fox jumps over the lazy dog"


async def answer_to(backend: Backend, request: ChatRequest) -> AnswerFold:
    fold = AnswerFold()
    async with aclosing(backend.stream(request)) as stream:
        async for event in stream:
            fold.add(event)
    return fold


# --- details ---


async def test_a_model_is_described(backend: Backend, server: Server) -> None:
    found = await backend.describe(server.model_id)
    assert found.id == server.model_id
    expected = server.traits.describes or ModelInfo(server.model_id)
    for field in fields(ModelInfo):
        wanted = getattr(expected, field.name)
        if wanted != (None if field.default is MISSING else field.default):
            assert getattr(found, field.name) == wanted, field.name


async def test_a_context_length_comes_with_its_source(backend: Backend) -> None:
    for model in await backend.list_models():
        assert (model.context_length is None) == (model.context_source is None)


async def test_an_unknown_model_is_not_described_but_what_comes_close_is_named(
    backend: Backend, server: Server
) -> None:
    with pytest.raises(NotFoundError) as caught:
        await backend.describe(f"{server.model_id}-x")
    assert server.model_id in caught.value.suggestions


# --- loading ---


async def test_models_are_loaded_and_unloaded_where_that_is_possible(
    backend: Backend, server: Server
) -> None:
    await backend.list_models()
    assert backend.can_load == server.traits.loads
    if not server.traits.loads:
        for refused in (backend.load, backend.unload):
            with pytest.raises(UnsupportedError) as caught:
                await refused(server.model_id)
            assert server.url in caught.value.message and caught.value.hint
        return
    try:
        await backend.unload(server.model_id)
        assert (await backend.describe(server.model_id)).loaded is False
        await backend.unload(server.model_id)
    finally:
        await backend.load(server.model_id)
    assert (await backend.describe(server.model_id)).loaded is True
    await backend.load(server.model_id)


# --- embeddings ---


async def test_each_text_has_an_embedding_of_its_own(backend: Backend, server: Server) -> None:
    model_id = server.traits.embedding_model
    if model_id is None:
        with pytest.raises(ServerError):
            await backend.embed(server.model_id, [TEXT])
        return
    found = await backend.embed(model_id, ["a cat", TEXT, "a cat"])
    first, other, again = found.vectors
    assert len(first) == len(other) == len(again) > 0
    assert all(map(math.isfinite, first))
    assert first == pytest.approx(again, abs=0.05) and first != pytest.approx(other, abs=0.05)
    assert found.prompt_tokens is None or found.prompt_tokens > 0


async def test_many_texts_keep_their_order_and_none_is_none(backend: Backend, server: Server) -> None:
    model_id = server.traits.embedding_model
    if model_id is None:
        pytest.skip("it makes no embeddings")
    assert (await backend.embed(model_id, [])).vectors == ()
    texts = [f"number {n}" for n in range(40)]
    vectors = (await backend.embed(model_id, texts)).vectors
    assert len(vectors) == 40
    # The last one is in another request than the first.
    (alone,) = (await backend.embed(model_id, texts[-1:])).vectors
    nearest = min(range(40), key=lambda n: math.dist(vectors[n], alone))
    assert nearest == 39


# --- counting ---


async def test_texts_are_counted_by_the_servers_tokenizer(backend: Backend, server: Server) -> None:
    count = await backend.count_tokens(server.model_id, TEXT)
    if not server.traits.counts_tokens:
        assert count is None
        return
    assert count is not None and count.source is TokensSource.SERVER_TOKENIZER
    assert 9 <= count.tokens <= 20
    twice = await backend.count_tokens(server.model_id, f"{TEXT} {TEXT}")
    assert twice is not None and twice.tokens == 2 * count.tokens
    nothing = await backend.count_tokens(server.model_id, "")
    assert nothing is not None and nothing.tokens == 0


async def test_a_whole_request_is_counted_as_its_answer_reports_it(backend: Backend, server: Server) -> None:
    request = server.request(max_tokens=1)
    count = await backend.count_prompt(request)
    if not server.traits.counts_prompt:
        assert count is None
        return
    usage = (await answer_to(backend, request)).metrics()
    assert count is not None and count.tokens == usage.prompt_tokens


async def test_an_answer_without_a_count_gets_the_best_there_is(
    planned_backend: Backend, planned: Server
) -> None:
    """A4: the server's tokenizer before chunks."""
    request = planned.request(plan=Plan(tokens=12, tokens_per_chunk=3, usage="none"))
    answer = LiveAnswer(clock=SystemClock(), limits=AnswerLimits(), on_change=lambda: None)
    await answer.run(planned_backend, request)
    assert answer.state is AnswerState.DONE
    expected = (
        (12, TokensSource.SERVER_TOKENIZER) if planned.traits.counts_tokens else (4, TokensSource.CHUNKS)
    )
    metrics = answer.view().metrics
    assert (metrics.output_tokens, metrics.tokens_source) == expected


# --- requests ---


async def test_every_option_at_once_is_answered_and_what_was_not_sent_is_told(
    backend: Backend, server: Server
) -> None:
    options = SamplingOptions(
        temperature=0.5,
        top_p=0.9,
        max_tokens=4,
        seed=3,
        stop=("###",),
        cache_prompt=True,
        top_k=40,
        min_p=0.05,
        repeat_penalty=1.1,
        presence_penalty=0.1,
        frequency_penalty=0.1,
        thinking=False,
        keep_alive_s=60,
    )
    request = replace(server.request(max_tokens=4), options=options)
    async with aclosing(backend.stream(request)) as stream:
        events = [event async for event in stream]
    assert isinstance(events[0], RequestSent)
    assert events[0].not_sent == backend.encode(request).not_sent


async def test_usage_is_left_out_when_it_is_not_asked_for(backend: Backend, server: Server) -> None:
    """For servers that reject the question: the answer comes all the same."""
    request = replace(server.request(max_tokens=3), ask_usage=False)
    assert (await answer_to(backend, request)).snapshot().finished


async def test_a_schema_is_obeyed(backend: Backend, server: Server) -> None:
    if not server.traits.obeys_schema:
        pytest.skip("it does not write what it is told to")
    request = server.request("How many legs has a cat?", max_tokens=60)
    schema = JsonOutput({"type": "object", "properties": {"legs": {"type": "integer"}}, "required": ["legs"]})
    text = (await answer_to(backend, replace(request, output=schema))).snapshot().text
    assert isinstance(json.loads(text)["legs"], int)


async def test_an_image_for_a_model_without_eyes_is_refused_in_words(
    backend: Backend, server: Server
) -> None:
    if server.metronome is not None or server.traits.sees_images:
        pytest.skip("it takes images")
    pixel = Image("image/png", b"\x89PNG\r\n\x1a\n")
    request = replace(server.request(), messages=(Message(Role.USER, "What?", images=(pixel,)),))
    with pytest.raises(ServerError, match=r"(?i)image|multimodal|vision|content type"):
        await answer_to(backend, request)
