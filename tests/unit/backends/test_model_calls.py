"""Details, loading, embeddings and counting: what is asked, and what of the answers is believed."""

from collections.abc import Mapping
from typing import Any

import pytest

from llama_runner.backends import llama_server
from llama_runner.backends.base import Engine
from llama_runner.backends.models import ContextSource, ModelInfo, weights_text
from llama_runner.backends.request import ChatRequest, Message, Role, SamplingOptions, Tool
from llama_runner.backends.templates import thinks
from llama_runner.core.errors import (
    InvalidRequestError,
    NotFoundError,
    ProtocolError,
    ServerError,
    UnsupportedError,
)
from llama_runner.core.trace import TokensSource
from tests.fakes.raw_server import response
from tests.unit.backends.fixed_server import Asked, serving

EMBED = "POST /v1/embeddings"
QUESTION = ChatRequest("m", (Message(Role.USER, "Hi."),), SamplingOptions(thinking=False, top_k=3))


def refusal(status: str, message: str) -> bytes:
    return response(f'{{"error":{{"message":"{message}"}}}}'.encode(), status=status)


def vectors(*numbers: Any) -> dict[str, Any]:
    return {"data": [{"index": index, "embedding": vector} for index, vector in enumerate(numbers)]}


# --- embeddings ---


async def test_embeddings_come_in_the_order_of_the_texts() -> None:
    data = [{"index": 1, "embedding": [2, 2]}, {"index": 0, "embedding": [1, 1.5]}]
    answer = {"data": data, "usage": {"prompt_tokens": 7}}
    async with serving(Engine.OPENAI, {EMBED: answer}) as (backend, server):
        found = await backend.embed("m", ["one", "two"])
    assert (found.vectors, found.prompt_tokens) == (((1.0, 1.5), (2.0, 2.0)), 7)
    assert server.bodies(EMBED) == [{"model": "m", "input": ["one", "two"]}]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"data": None},
        vectors([1]),
        vectors([1], [2], [3]),
        vectors([1], [1, 2]),
        vectors([], []),
        vectors([1, "x"], [1, 2]),
        vectors([True], [False]),
        # llama-server without pooling: a vector per token.
        vectors([[1, 2], [3, 4]], [[1, 2]]),
        vectors([0] * 70_000, [0] * 70_000),
        response(b'{"data":[{"embedding":[NaN]},{"embedding":[1]}]}'),
        response(b"<html>"),
    ],
)
async def test_embeddings_that_are_none_are_refused(answer: Any) -> None:
    async with serving(Engine.OPENAI, {EMBED: answer}) as (backend, _):
        with pytest.raises(ProtocolError):
            await backend.embed("m", ["one", "two"])


async def test_many_texts_are_asked_in_batches_and_their_tokens_added() -> None:
    def answer(asked: Asked) -> dict[str, Any]:
        texts = asked.body["input"]
        return vectors(*([float(text)] for text in texts)) | {"usage": {"prompt_tokens": len(texts)}}

    async with serving(Engine.OPENAI, {EMBED: answer}) as (backend, server):
        found = await backend.embed("m", [str(n) for n in range(70)])
        assert (await backend.embed("m", [])).vectors == ()
    assert found.vectors == tuple((float(n),) for n in range(70))
    assert found.prompt_tokens == 70
    assert [len(body["input"]) for body in server.bodies(EMBED)] == [32, 32, 6]


async def test_long_embeddings_of_a_whole_batch_fit() -> None:
    long = [0.123456789012345678] * 8192
    async with serving(Engine.OPENAI, {EMBED: vectors(*[long] * 32)}) as (backend, _):
        found = await backend.embed("m", ["x"] * 32)
    assert len(found.vectors) == 32


async def test_ollama_is_told_not_to_cut_texts() -> None:
    """A text cut in silence would have a vector that is not its own."""
    path = "POST /api/embed"
    answer = {"embeddings": [[1, 2]], "prompt_eval_count": 3}
    async with serving(Engine.OLLAMA, {path: answer}) as (backend, server):
        found = await backend.embed("m", ["one"])
    assert (found.vectors, found.prompt_tokens) == (((1.0, 2.0),), 3)
    assert server.bodies(path) == [{"model": "m", "input": ["one"], "truncate": False}]


async def test_a_llama_server_without_embeddings_says_how_to_have_them() -> None:
    no = refusal("501 Not Implemented", "This server does not support embeddings.")
    async with serving(Engine.LLAMA_SERVER, {EMBED: no}) as (backend, _):
        with pytest.raises(UnsupportedError) as caught:
            await backend.embed("m", ["x"])
    assert "--embeddings" in caught.value.hint


# --- counting ---


async def test_llama_server_counts_a_request_as_it_would_be_sent() -> None:
    path = "POST /v1/chat/completions/input_tokens"
    async with serving(Engine.LLAMA_SERVER, {path: {"input_tokens": 25}}) as (backend, server):
        count = await backend.count_prompt(QUESTION)
    assert count is not None and (count.tokens, count.source) == (25, TokensSource.SERVER_TOKENIZER)
    (body,) = server.bodies(path)
    assert body["messages"] == [{"role": "user", "content": "Hi."}]
    assert body["chat_template_kwargs"]["enable_thinking"] is False
    assert "stream" not in body


async def test_vllm_counts_texts_alone_and_requests_with_their_template() -> None:
    path = "POST /tokenize"
    tool = Tool("clock", "Tells the time.", {})
    request = ChatRequest("m", QUESTION.messages, QUESTION.options, tools=(tool,))
    async with serving(Engine.VLLM, {path: {"count": 4}}) as (backend, server):
        for count in (await backend.count_tokens("m", "Hi."), await backend.count_prompt(request)):
            assert count is not None and count.tokens == 4
    text, whole = server.bodies(path)
    assert text == {"model": "m", "prompt": "Hi.", "add_special_tokens": False}
    assert whole.keys() == {"model", "messages", "tools", "chat_template_kwargs"}


@pytest.mark.parametrize("engine", [Engine.LLAMA_SERVER, Engine.VLLM])
async def test_servers_without_that_path_count_nothing(engine: Engine) -> None:
    async with serving(engine, {}) as (backend, _):
        assert await backend.count_tokens("m", "x") is None
        assert await backend.count_prompt(QUESTION) is None


@pytest.mark.parametrize("answer", [{}, {"tokens": "x"}, {"tokens": -1}, {"tokens": True}, {"tokens": None}])
async def test_a_count_that_is_none_is_refused(answer: dict[str, Any]) -> None:
    async with serving(Engine.LLAMA_SERVER, {"POST /tokenize": answer}) as (backend, _):
        with pytest.raises(ProtocolError):
            await backend.count_tokens("m", "x")


# --- details ---


def of_ollama(show: Any, **running: Any) -> Mapping[str, Any]:
    details = {"family": "qwen3", "parameter_size": "8.2B", "quantization_level": "Q4_K_M"}
    ps = [{"name": "q:latest", **running}] if running else []
    return {
        "GET /api/tags": {"models": [{"name": "q:latest", "size": 5, "details": details}]},
        "GET /api/ps": {"models": ps},
        "POST /api/show": show,
    }


SHOWN = {
    "model_info": {"general.architecture": "qwen3", "qwen3.context_length": 40_960},
    "details": {"family": "qwen3", "parameter_size": "8.2B", "quantization_level": "Q4_K_M"},
    "capabilities": ["completion", "tools", "thinking", 7],
}


async def test_ollama_describes_a_model_that_is_not_running_by_its_training() -> None:
    async with serving(Engine.OLLAMA, of_ollama(SHOWN)) as (backend, server):
        found = await backend.describe("q")
    assert found == ModelInfo(
        "q:latest",
        context_length=40_960,
        size_bytes=5,
        quantization="Q4_K_M",
        loaded=False,
        capabilities=("completion", "tools", "thinking"),
        context_source=ContextSource.TRAINED,
        trained_context=40_960,
        family="qwen3",
        parameters="8.2B",
    )
    assert server.bodies("POST /api/show") == [{"model": "q:latest"}]


async def test_ollama_describes_a_running_model_by_what_applies() -> None:
    async with serving(Engine.OLLAMA, of_ollama(SHOWN, context_length=4096)) as (backend, _):
        found = await backend.describe("q:latest")
    assert (found.context_length, found.context_source) == (4096, ContextSource.RUNNING)
    assert (found.trained_context, found.loaded) == (40_960, True)


@pytest.mark.parametrize("show", [{}, {"model_info": 7, "details": [], "capabilities": "all"}])
async def test_ollama_details_that_say_nothing_change_nothing(show: Any) -> None:
    async with serving(Engine.OLLAMA, of_ollama(show)) as (backend, _):
        found = await backend.describe("q")
    assert (found.family, found.parameters, found.context_length) == ("qwen3", "8.2B", None)


async def test_imitators_of_ollama_that_only_list_are_described_by_the_list() -> None:
    answers = {**of_ollama(None)}
    del answers["POST /api/show"]
    async with serving(Engine.OLLAMA, answers) as (backend, _):
        assert (await backend.describe("q")).family == "qwen3"


@pytest.mark.parametrize("engine", [Engine.OPENAI, Engine.VLLM, Engine.LLAMA_SERVER])
async def test_an_unknown_model_is_not_described(engine: Engine) -> None:
    async with serving(engine, {"GET /v1/models": {"data": [{"id": "qwen3-8b"}]}}) as (backend, _):
        with pytest.raises(NotFoundError) as caught:
            await backend.describe("qwen3-8")
    assert caught.value.suggestions == ("qwen3-8b",)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{% if enable_thinking %}", True),
        ("<think>\n", True),
        ("[THINK]", True),
        ("<|channel|>analysis<|message|>", True),
        ("{{ messages }} I think so", False),
        ("", False),
    ],
)
def test_a_template_shows_whether_its_model_thinks(template: str, expected: bool) -> None:
    assert thinks(template) is expected


@pytest.mark.parametrize(
    ("weights", "text"),
    [(134_515_008, "135M"), (8_190_735_360, "8.19B"), (1_000_000_000_000, "1T"), (5, "5")],
)
def test_weights_are_said_as_people_say_them(weights: int, text: str) -> None:
    assert weights_text(weights) == text


# --- loading ---


async def test_ollama_loads_and_unloads_by_requests_without_a_prompt() -> None:
    path = "POST /api/generate"
    async with serving(Engine.OLLAMA, {path: {"done": True, "done_reason": "load"}}) as (backend, server):
        assert backend.can_load
        await backend.load("q")
        await backend.unload("q")
    assert server.bodies(path) == [
        {"model": "q", "stream": False},
        {"model": "q", "keep_alive": 0, "stream": False},
    ]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refusal("404 Not Found", "model 'q' not found"), NotFoundError),
        (refusal("500 Internal Server Error", "out of memory"), ServerError),
        ({"error": "out of memory"}, ServerError),
    ],
)
async def test_what_ollama_cannot_load_it_says(answer: Any, kind: type[ServerError]) -> None:
    async with serving(Engine.OLLAMA, {"POST /api/generate": answer}) as (backend, _):
        with pytest.raises(kind):
            await backend.load("q")


class Router:
    """The list of a llama-server router: one status after the other, the last one for ever."""

    def __init__(self, *states: Any) -> None:
        self.states = list(states)
        self.lists = 0

    def __call__(self, asked: Asked) -> dict[str, Any]:
        self.lists += 1
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return {"data": [{"id": "m", "status": state}]}


def state(value: str, **more: Any) -> dict[str, Any]:
    return {"value": value, **more}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_server, "_POLL_S", 0.01)


LOAD = "POST /models/load"


@pytest.mark.usefixtures("quick")
async def test_a_router_is_waited_for() -> None:
    router = Router(state("unloaded"), state("loading"), state("loading"), state("loaded"))
    async with serving(Engine.LLAMA_SERVER, {"GET /v1/models": router, LOAD: {"success": True}}) as (
        backend,
        server,
    ):
        assert not backend.can_load
        await backend.load("m")
        assert backend.can_load
    assert (server.bodies(LOAD), router.lists) == ([{"model": "m"}], 4)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "after", [state("unloaded", failed=True, exit_code=1), state("unloaded"), state("loading", failed=True)]
)
async def test_a_router_that_fails_to_load_says_so(after: dict[str, Any]) -> None:
    router = Router(state("unloaded"), state("loading"), after)
    async with serving(Engine.LLAMA_SERVER, {"GET /v1/models": router, LOAD: {}}) as (backend, _):
        with pytest.raises(ServerError, match="could not load m"):
            await backend.load("m")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("now", ["loaded", "sleeping"])
async def test_what_is_loaded_already_is_not_loaded_again(now: str) -> None:
    async with serving(Engine.LLAMA_SERVER, {"GET /v1/models": Router(state(now))}) as (backend, server):
        await backend.load("m")
    assert server.bodies(LOAD) == []


@pytest.mark.usefixtures("quick")
async def test_a_router_that_refuses_is_heard() -> None:
    full = refusal("400 Bad Request", "model limit reached")
    async with serving(Engine.LLAMA_SERVER, {"GET /v1/models": Router(state("unloaded")), LOAD: full}) as (
        backend,
        _,
    ):
        with pytest.raises(InvalidRequestError, match="model limit reached"):
            await backend.load("m")


async def test_a_model_that_a_router_has_not_loaded_is_not_loaded_by_looking() -> None:
    router = Router(state("unloaded"))
    async with serving(Engine.LLAMA_SERVER, {"GET /v1/models": router}) as (backend, server):
        assert (await backend.describe("m")).loaded is False
        assert [model.loaded for model in await backend.list_models()] == [False]
    assert all("props" not in asked.path for asked in server.asked)


async def test_a_loaded_model_of_a_router_is_asked_by_its_name() -> None:
    answers = {
        "GET /v1/models": {"data": [{"id": "a b", "status": state("loaded")}, {"id": "c"}]},
        "GET /props?model=a%20b": {"default_generation_settings": {"n_ctx": 512}, "chat_template": "<think>"},
    }
    async with serving(Engine.LLAMA_SERVER, answers) as (backend, _):
        found = await backend.describe("a b")
    assert (found.context_length, found.context_source) == (512, ContextSource.SLOT)
    assert found.capabilities == ("completion", "thinking")


async def test_a_single_llama_server_loads_nothing_and_says_what_would() -> None:
    async with serving(Engine.LLAMA_SERVER, {"GET /v1/models": {"data": [{"id": "m"}]}}) as (backend, _):
        for refused in (backend.load, backend.unload):
            with pytest.raises(UnsupportedError) as caught:
                await refused("m")
            assert "without a model" in caught.value.hint
