"""Our texts and counts beside those of OpenAI's own client, on every server that speaks its dialect."""

import time
from contextlib import aclosing
from dataclasses import dataclass

import openai
import pytest

from llama_runner.backends.base import Backend, Engine
from llama_runner.backends.fold import AnswerFold
from tests.contract.servers import Server
from tests.real.known import RANDOM


@dataclass
class Seen:
    """What the SDK made of an answer; seconds from the call."""

    text: str = ""
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    reason: str | None = None
    first_s: float | None = None
    end_s: float = 0.0


async def by_sdk(server: Server, text: str, max_tokens: int) -> Seen:
    seen = Seen()
    async with openai.AsyncOpenAI(
        base_url=f"{server.url}/v1", api_key=server.api_key or "none", max_retries=0
    ) as client:
        start = time.monotonic()
        stream = await client.chat.completions.create(
            model=server.model_id,
            messages=[{"role": "user", "content": text}],
            max_tokens=max_tokens,
            temperature=0.0,
            seed=1,
            stream=True,
            stream_options={"include_usage": True},
        )
        async for chunk in stream:
            if chunk.usage is not None:
                seen.prompt_tokens = chunk.usage.prompt_tokens
                seen.output_tokens = chunk.usage.completion_tokens
            for choice in chunk.choices:
                if choice.delta.content and seen.first_s is None:
                    seen.first_s = time.monotonic() - start
                seen.text += choice.delta.content or ""
                seen.reason = choice.finish_reason or seen.reason
        seen.end_s = time.monotonic() - start
    return seen


async def by_us(backend: Backend, server: Server, text: str, max_tokens: int) -> AnswerFold:
    fold = AnswerFold()
    async with aclosing(backend.stream(server.request(text, max_tokens=max_tokens))) as stream:
        async for event in stream:
            fold.add(event)
    return fold


async def test_text_and_figures_agree_with_the_sdk(
    request: pytest.FixtureRequest, backend: Backend, server: Server
) -> None:
    if server.engine in (Engine.OLLAMA, Engine.ANTHROPIC):
        pytest.skip("it is asked in another dialect")
    question = "Count from one to ten in words."
    theirs = await by_sdk(server, question, 24)
    fold = await by_us(backend, server, question, 24)
    ours, metrics = fold.snapshot(), fold.metrics()
    assert ours.finish_reason == theirs.reason
    if request.node.callspec.params["server"].name not in RANDOM:
        assert ours.text == theirs.text
    if theirs.output_tokens is not None:
        assert (metrics.prompt_tokens, metrics.output_tokens) == (theirs.prompt_tokens, theirs.output_tokens)
    # How long each takes is compared where nothing else runs; see docs/servers.md.
    assert metrics.ttft_s is not None and metrics.e2e_s is not None
    assert 0 < metrics.ttft_s <= metrics.e2e_s
