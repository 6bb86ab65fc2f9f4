"""What each of the other engines says of its models: in older versions, refused, and as it never should.

The metronome has each engine's ordinary answers (tests/contract); here is what else there is.
"""

from typing import Any

import pytest

from llama_runner.backends.base import Engine
from llama_runner.backends.models import ContextSource, ModelInfo
from llama_runner.backends.request import ChatRequest, Message, Role
from llama_runner.core.errors import (
    InvalidRequestError,
    NotFoundError,
    ProtocolError,
    RefusedError,
    ServerError,
    UnsupportedError,
)
from tests.fakes.raw_server import response
from tests.unit.backends.fixed_server import Answer, serving

LISTS = {
    Engine.LM_STUDIO: "GET /api/v1/models",
    Engine.SGLANG: "GET /v1/models",
    Engine.TGI: "GET /info",
    Engine.LOCALAI: "GET /v1/models/capabilities",
    Engine.KOBOLDCPP: "GET /v1/models",
    Engine.LITELLM: "GET /v1/models",
    Engine.LLAMA_SWAP: "GET /v1/models",
    Engine.ANTHROPIC: "GET /v1/models?limit=1000",
}
REFUSED = response(b'{"error":{"message":"not for you"}}', status="403 Forbidden")
BROKEN = response(b'{"error":{"message":"no list"}}', status="500 Internal Server Error")
UNKNOWN_PATH = {"error": "Unexpected endpoint or method. (GET /x)"}
QUESTION = ChatRequest("m", (Message(Role.USER, "x"),))


def openai_list(*ids: str, **more: Any) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": model_id, "object": "model", **more} for model_id in ids]}


@pytest.mark.parametrize("engine", list(LISTS))
@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"<html>", b"{", b"[" * 99_999])
async def test_an_answer_that_is_no_model_list_says_so(engine: Engine, body: bytes) -> None:
    """D4."""
    async with serving(engine, {LISTS[engine]: response(body)}) as (backend, _):
        with pytest.raises(ServerError):
            await backend.list_models()


@pytest.mark.parametrize("engine", list(LISTS))
async def test_an_error_with_status_200_is_an_error(engine: Engine) -> None:
    answers = {LISTS[engine]: {"error": {"message": "out of order"}}}
    async with serving(engine, answers) as (backend, _):
        with pytest.raises(ServerError):
            await backend.list_models()


@pytest.mark.parametrize("engine", [e for e in LISTS if e is not Engine.TGI])
async def test_odd_entries_are_left_out(engine: Engine) -> None:
    odd: list[Any] = [{"id": 7, "key": 7}, {"id": "", "key": ""}, {}, None, "x", [], {"key": "a", "id": "a"}]
    answers = {LISTS[engine]: {"data": odd, "models": odd}}
    async with serving(engine, answers) as (backend, _):
        assert [model.id for model in await backend.list_models()] == ["a"]


@pytest.mark.parametrize("engine", list(LISTS))
async def test_fields_of_the_wrong_kind_are_unknown(engine: Engine) -> None:
    objects = ("loaded_instances", "quantization", "capabilities", "status", "meta")
    numbers = ("max_context_length", "context_size", "max_model_len", "max_input_tokens")
    odd = dict.fromkeys(objects, 3) | dict.fromkeys(numbers, "x")
    entry = {"id": "a", "key": "a", **odd}
    answers: dict[str, Answer] = {
        LISTS[engine]: {"data": [entry], "models": [entry], "model_id": "a", "max_total_tokens": "x"},
        "GET /system": {"loaded_models": 3},
        "GET /running": {"running": {"a": 1}},
        "GET /v1/model/info": {"data": [3, {"model_name": "a", "model_info": "x"}]},
        "GET /api/extra/true_max_context_length": {"value": "x"},
        "GET /props": {"modalities": 3, "chat_template": None},
        "GET /model_info": {"is_generation": "yes", "model_type": 3},
    }
    async with serving(engine, answers) as (backend, _):
        found = await backend.describe("a")
    assert (found.id, found.context_length, found.context_source) == ("a", None, None)
    assert (found.quantization, found.size_bytes, found.family) == (None, None, None)


# --- LM Studio ---


async def test_lm_studio_before_0_4_has_another_list() -> None:
    entries = [
        {
            "id": "qwen",
            "type": "llm",
            "arch": "qwen2",
            "quantization": "4bit",
            "state": "loaded",
            "max_context_length": 32_768,
            "loaded_context_length": 4096,
            "capabilities": ["tool_use"],
        },
        {"id": "eyes", "type": "vlm", "state": "not-loaded", "max_context_length": 8192},
        {"id": "nomic", "type": "embeddings", "state": "not-loaded"},
    ]
    answers = {"GET /api/v1/models": UNKNOWN_PATH, "GET /api/v0/models": {"data": entries}}
    async with serving(Engine.LM_STUDIO, answers) as (backend, _):
        qwen, eyes, nomic = await backend.list_models()
        with pytest.raises(UnsupportedError, match=r"0\.4\.0"):
            await backend.load("qwen")
    assert qwen == ModelInfo(
        "qwen",
        4096,
        quantization="4bit",
        loaded=True,
        capabilities=("completion", "tools"),
        context_source=ContextSource.RUNNING,
        trained_context=32_768,
        family="qwen2",
    )
    assert (eyes.capabilities, eyes.loaded) == (("completion", "vision"), False)
    assert (eyes.context_length, eyes.context_source) == (8192, ContextSource.TRAINED)
    assert nomic.capabilities == ("embedding",)


@pytest.mark.parametrize("answer", [UNKNOWN_PATH, response(b"{}", status="404 Not Found")])
async def test_lm_studio_of_old_has_only_openais_list(answer: Answer) -> None:
    answers = {
        "GET /api/v1/models": answer,
        "GET /api/v0/models": answer,
        "GET /v1/models": openai_list("old"),
    }
    async with serving(Engine.LM_STUDIO, answers) as (backend, _):
        assert await backend.list_models() == (ModelInfo("old"),)


async def test_lm_studio_loads_what_is_not_loaded_and_unloads_every_instance() -> None:
    entries = [
        {"type": "llm", "key": "twice", "loaded_instances": [{"id": "twice"}, {"id": "twice:2"}]},
        {"type": "embedding", "key": "never", "loaded_instances": []},
    ]
    answers = {
        "GET /api/v1/models": {"models": entries},
        "POST /api/v1/models/load": {"status": "loaded"},
        "POST /api/v1/models/unload": {"instance_id": "x"},
    }
    async with serving(Engine.LM_STUDIO, answers) as (backend, server):
        await backend.load("twice")
        await backend.load("never")
        await backend.unload("twice")
        await backend.unload("never")
        with pytest.raises(NotFoundError) as caught:
            await backend.load("thrice")
    assert server.bodies("POST /api/v1/models/load") == [{"model": "never"}]
    unloaded = server.bodies("POST /api/v1/models/unload")
    assert unloaded == [{"instance_id": "twice"}, {"instance_id": "twice:2"}]
    assert caught.value.suggestions == ("twice",)


async def test_a_failed_load_is_told() -> None:
    answers = {
        "GET /api/v1/models": {"models": [{"type": "llm", "key": "big", "loaded_instances": []}]},
        "POST /api/v1/models/load": BROKEN,
    }
    async with serving(Engine.LM_STUDIO, answers) as (backend, _):
        with pytest.raises(ServerError, match="no list"):
            await backend.load("big")


# --- SGLang ---


async def test_sglang_of_old_has_another_path_for_its_model() -> None:
    answers = {
        "GET /v1/models": openai_list("m", max_model_len=4096),
        "GET /get_model_info": {"is_generation": False, "model_type": "e5"},
    }
    async with serving(Engine.SGLANG, answers) as (backend, _):
        model = await backend.describe("m")
    assert (model.capabilities, model.family, model.context_length) == (("embedding",), "e5", 4096)


async def test_sglang_of_old_counts_no_conversations() -> None:
    no = response(b'{"object":"error","message":"prompt: Field required"}', status="400 Bad Request")
    async with serving(Engine.SGLANG, {"POST /tokenize": no}) as (backend, _):
        assert await backend.count_prompt(QUESTION) is None
        with pytest.raises(InvalidRequestError):
            await backend.count_tokens("m", "x")


# --- TGI ---


async def test_tgi_leaves_out_what_it_puts_before_a_text() -> None:
    tokens = [{"id": 1, "text": "<s>", "start": 0, "stop": 0}, {"id": 9, "text": "a", "start": 0, "stop": 1}]
    async with serving(Engine.TGI, {"POST /tokenize": tokens}) as (backend, _):
        count = await backend.count_tokens("m", "a")
    assert count is not None and count.tokens == 1


@pytest.mark.parametrize("answer", [{"tokens": 3}, {"tokenize_response": "x"}, "x", None])
async def test_tgi_with_another_answer_does_not_count(answer: Answer) -> None:
    body = response(b"null") if answer is None else answer
    async with serving(Engine.TGI, {"POST /tokenize": body}) as (backend, _):
        with pytest.raises(ProtocolError, match="no list of tokens"):
            await backend.count_tokens("m", "a")


async def test_tgi_without_a_tokenizer_does_not_count_and_never_embeds() -> None:
    async with serving(Engine.TGI, {}) as (backend, server):
        assert await backend.count_tokens("m", "a") is None
        assert await backend.count_prompt(QUESTION) is None
        with pytest.raises(UnsupportedError):
            await backend.embed("m", ["a"])
    assert "POST /v1/embeddings" not in [asked.line for asked in server.asked]


# --- LocalAI ---


@pytest.mark.parametrize("answer", [REFUSED, response(b"{}", status="404 Not Found")])
async def test_localai_without_its_own_lists_has_openais(answer: Answer) -> None:
    answers = {
        "GET /v1/models/capabilities": answer,
        "GET /system": answer,
        "GET /v1/models": openai_list("m"),
    }
    async with serving(Engine.LOCALAI, answers) as (backend, _):
        assert await backend.list_models() == (ModelInfo("m"),)


async def test_localai_of_old_loads_only_with_a_request() -> None:
    async with serving(Engine.LOCALAI, {"GET /v1/models": openai_list("m")}) as (backend, _):
        with pytest.raises(UnsupportedError, match="version 4"):
            await backend.load("m")


async def test_localai_lets_only_administrators_unload() -> None:
    answers = {"GET /v1/models": openai_list("m"), "POST /backend/shutdown": REFUSED}
    async with serving(Engine.LOCALAI, answers) as (backend, _):
        with pytest.raises(RefusedError, match="not for you"):
            await backend.unload("m")


# --- koboldcpp ---


async def test_koboldcpp_as_a_router_has_one_model_in_memory() -> None:
    answers = {
        "GET /v1/models": openai_list("koboldcpp/a", "b.kcpps"),
        "GET /api/extra/true_max_context_length": {"value": 4096},
    }
    async with serving(Engine.KOBOLDCPP, answers) as (backend, server):
        first, second = await backend.list_models()
        assert await backend.describe("b.kcpps") == second
    assert (first.loaded, first.context_length, first.context_source) == (True, 4096, ContextSource.RUNNING)
    assert (second.loaded, second.context_length) == (False, None)
    assert "GET /props" not in [asked.line for asked in server.asked]


async def test_koboldcpp_of_old_says_no_context_and_counts_no_conversations() -> None:
    answers = {"GET /v1/models": openai_list("a"), "POST /api/extra/tokencount": {"value": 1, "ids": [1]}}
    async with serving(Engine.KOBOLDCPP, answers) as (backend, _):
        assert await backend.describe("a") == ModelInfo("a", loaded=True)
        assert await backend.count_prompt(QUESTION) is None
        count = await backend.count_tokens("a", "x")
        assert count is not None and count.tokens == 1


async def test_koboldcpp_without_a_model_has_none() -> None:
    async with serving(Engine.KOBOLDCPP, {"GET /v1/models": openai_list()}) as (backend, _):
        assert await backend.list_models() == ()


# --- LiteLLM ---


@pytest.mark.parametrize("answer", [REFUSED, BROKEN, response(b"{}", status="404 Not Found")])
async def test_litellm_without_details_has_its_list(answer: Answer) -> None:
    answers = {"GET /v1/models": openai_list("gpt"), "GET /v1/model/info": answer}
    async with serving(Engine.LITELLM, answers) as (backend, _):
        assert await backend.list_models() == (ModelInfo("gpt"),)


async def test_litellm_takes_the_first_deployment_of_a_model() -> None:
    said = [
        {"model_name": "e", "model_info": {"mode": "embedding", "max_tokens": 512}},
        {"model_name": "e", "model_info": {"mode": "chat", "max_input_tokens": 9}},
    ]
    answers = {"GET /v1/models": openai_list("e"), "GET /v1/model/info": {"data": said}}
    async with serving(Engine.LITELLM, answers) as (backend, _):
        (model,) = await backend.list_models()
    assert (model.capabilities, model.context_length) == (("embedding",), 512)


@pytest.mark.parametrize(
    ("said", "exact"),
    [
        ({"tokenizer_type": "openai_tokenizer", "model_used": "gpt-4o"}, True),
        ({"tokenizer_type": "openai_tokenizer", "model_used": "openai/gpt-5.6"}, True),
        ({"tokenizer_type": "openai_tokenizer", "model_used": "openai/smol"}, False),
        ({"tokenizer_type": "huggingface_tokenizer", "model_used": "x/llama-3"}, True),
        ({"tokenizer_type": "openai_tokenizer", "model_used": "x", "count_source": "provider"}, True),
        ({"tokenizer_type": "openai_tokenizer", "model_used": "x", "count_source": "local_estimate"}, False),
    ],
)
async def test_litellm_counts_only_where_it_does_not_guess(said: dict[str, str], exact: bool) -> None:
    """A4: an estimate is not the server's tokenizer."""
    answers = {"POST /utils/token_counter": {"total_tokens": 5, "request_model": "m", **said}}
    async with serving(Engine.LITELLM, answers) as (backend, _):
        for count in (await backend.count_tokens("m", "x"), await backend.count_prompt(QUESTION)):
            assert (count is not None and count.tokens == 5) == exact


# --- llama-swap ---


def swap_answers(*running: str, state: str = "ready") -> dict[str, Answer]:
    return {
        "GET /v1/models": openai_list("a/b", "c", owned_by="llama-swap"),
        "GET /running": {"running": [{"model": name, "state": state} for name in running]},
    }


async def test_llama_swap_asks_only_the_server_that_runs() -> None:
    """Asking for another would stop it."""
    answers = {
        **swap_answers("c"),
        "GET /upstream/c/v1/models": openai_list("x", meta={"n_ctx": 2048, "n_ctx_train": 8192}),
        "POST /upstream/c/tokenize": {"tokens": [1, 2]},
    }
    async with serving(Engine.LLAMA_SWAP, answers) as (backend, server):
        c, ab = await backend.describe("c"), await backend.describe("a/b")
        assert await backend.count_tokens("a/b", "x") is None
        counted = await backend.count_tokens("c", "x")
    assert (c.id, c.context_length, c.context_source, c.loaded) == ("c", 2048, ContextSource.SLOT, True)
    assert (ab.id, ab.context_length, ab.loaded) == ("a/b", None, False)
    assert counted is not None and counted.tokens == 2
    assert not [asked for asked in server.asked if asked.path.startswith("/upstream/a")]


async def test_llama_swap_with_another_kind_of_server_behind_it_says_what_it_knows() -> None:
    answers = {**swap_answers("c"), "GET /upstream/c/v1/models": response(b"<html>")}
    async with serving(Engine.LLAMA_SWAP, answers) as (backend, _):
        assert await backend.describe("c") == ModelInfo("c", loaded=True)


async def test_a_model_that_is_only_starting_is_not_in_memory() -> None:
    async with serving(Engine.LLAMA_SWAP, swap_answers("c", state="starting")) as (backend, _):
        assert [model.loaded for model in await backend.list_models()] == [False, False]


async def test_llama_swap_loads_through_the_models_own_server() -> None:
    answers = {**swap_answers(), "GET /upstream/a/b/health": {"status": "ok"}}
    async with serving(Engine.LLAMA_SWAP, answers) as (backend, server):
        await backend.load("a/b")
        with pytest.raises(NotFoundError):
            await backend.load("c")
    assert "GET /upstream/a/b/health" in [asked.line for asked in server.asked]


async def test_a_server_without_a_health_path_was_loaded_all_the_same() -> None:
    async with serving(Engine.LLAMA_SWAP, swap_answers("c")) as (backend, _):
        await backend.load("c")


async def test_llama_swap_of_old_stops_everything_or_nothing() -> None:
    alone = {**swap_answers("c"), "GET /unload": response(b"OK")}
    async with serving(Engine.LLAMA_SWAP, alone) as (backend, server):
        await backend.unload("c")
    assert "GET /unload" in [asked.line for asked in server.asked]
    async with serving(Engine.LLAMA_SWAP, swap_answers("c", "a/b")) as (backend, server):
        with pytest.raises(UnsupportedError, match="one of several"):
            await backend.unload("c")
    assert "GET /unload" not in [asked.line for asked in server.asked]


# --- Anthropic ---


async def test_an_imitation_of_anthropic_lists_names_only() -> None:
    answers = {"GET /v1/models?limit=1000": openai_list("smol", owned_by="llamacpp")}
    async with serving(Engine.ANTHROPIC, answers) as (backend, _):
        assert await backend.list_models() == (ModelInfo("smol"),)


async def test_an_imitation_without_counting_does_not_count() -> None:
    async with serving(Engine.ANTHROPIC, {}) as (backend, _):
        assert await backend.count_prompt(QUESTION) is None
        assert await backend.count_tokens("m", "x") is None
        for refused in (backend.load("m"), backend.unload("m"), backend.embed("m", ["x"])):
            with pytest.raises(UnsupportedError):
                await refused


# --- asking whether they live ---


@pytest.mark.parametrize("engine", [Engine.SGLANG, Engine.TGI, Engine.LITELLM])
async def test_a_ping_never_makes_a_model_work(engine: Engine) -> None:
    """Their /health has the model write a token, or asks every model behind them."""
    everything: dict[str, Answer] = dict.fromkeys(
        ("GET /v1/models", "GET /info", "GET /health/liveliness"), "alive"
    )
    async with serving(engine, everything) as (backend, server):
        assert await backend.ping() > 0
    assert [asked.method for asked in server.asked] == ["GET"]
    assert not {asked.path for asked in server.asked} & {"/health", "/health_generate"}
