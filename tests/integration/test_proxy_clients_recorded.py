"""What real editors and chat windows send, replayed against a real engine; what they read is asserted.

Sources of the sequences: docs/clients.md. A field is asserted because a client breaks without it.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from llama_runner.core.paths import create_folders, home_at
from tests.fakes.gguf_files import write_tiny_llama
from tests.integration.service_process import ServiceProcess, started_service

CODER: Final = "coder"
VECTORS: Final = "vectors"
TEMPLATE: Final = Path(__file__).parents[1] / "contract" / "tools_and_thinking.jinja"
ASK: Final[Any] = [{"role": "user", "content": "hi"}]
TOOL: Final[Any] = {
    "type": "function",
    "function": {
        "name": "read_file",
        "description": "Reads a file.",
        "parameters": {
            "type": "object",
            "properties": {"path": {"type": "string"}},
            "required": ["path"],
        },
    },
}
# Greedy: random weights now and then choose bytes that the engine refuses to call text.
SHORT: Final[Any] = {"temperature": 0, "num_predict": 4}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Iterator[ServiceProcess]:
    home = tmp_path_factory.mktemp("recorded")
    path = write_tiny_llama(
        home / "coder.gguf", demo_model, template=TEMPLATE.read_text(encoding="utf-8"), infills=True
    )
    create_folders(home_at(home))
    options = {"embedding": True, "pooling": "mean"}
    models = {CODER: {"path": str(path)}, VECTORS: {"path": str(path), "parameters": options}}
    home_at(home).models_config_file.write_text(json.dumps({"version": 1, "models": models}))
    free = "127.0.0.1:0"
    with started_service(home, "--demo", "--openai", free, "--ollama", free) as running:
        # Loaded before the guard looks: an engine that appears during a test would be a leak of it.
        for model in (CODER, VECTORS):
            loaded = httpx.post(
                f"{running.ready['ollama']}/api/generate", json={"model": model, "keep_alive": -1}, timeout=60
            )
            assert loaded.json()["done_reason"] == "load"
        yield running


@pytest.fixture(autouse=True)
def guarded(service: ServiceProcess, leak_guard: None) -> None:
    """The service before the guard looks: it is no leak of the first test."""


@dataclass
class Api:
    """One listener, as a client with its headers sees it."""

    base_url: str
    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.base_url + path, headers=self.headers, timeout=30)

    def post(self, path: str, *, json: Any) -> httpx.Response:
        return httpx.post(self.base_url + path, headers=self.headers, json=json, timeout=30)


@pytest.fixture
def ollama(service: ServiceProcess) -> Api:
    return Api(service.ready["ollama"])


@pytest.fixture
def openai(service: ServiceProcess) -> Api:
    return Api(service.ready["openai"], {"Authorization": "Bearer anything"})


def sse(answer: httpx.Response) -> list[dict[str, Any]]:
    """The documents of a chat stream, as strict readers split it: lines `data: `, none of them empty."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [event for event in answer.text.split("\n\n") if event and event != ":"]
    assert all(event.startswith("data: ") and "\n" not in event for event in events)
    assert events.pop() == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events]


def named_events(answer: httpx.Response) -> list[dict[str, Any]]:
    """The documents of a stream whose events have names, which their documents repeat."""
    assert answer.status_code == 200, answer.text
    found = []
    for event in answer.text.strip().split("\n\n"):
        name, data = event.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def ndjson(answer: httpx.Response) -> list[dict[str, Any]]:
    """The lines of a stream as Ollama's clients split it."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert "\n\n" not in answer.text and answer.text.endswith("\n")
    return [json.loads(line) for line in answer.text.splitlines()]


def chat_lines(answer: httpx.Response) -> list[dict[str, Any]]:
    """Lines of `/api/chat` with all that Zed's structs want in each of them."""
    lines = ndjson(answer)
    for line in lines:
        assert isinstance(line["message"]["content"], str) and line["message"]["role"] == "assistant"
        assert line["model"] and datetime.fromisoformat(line["created_at"])
        assert isinstance(line["done"], bool)
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert all(isinstance(lines[-1][name], int) for name in ("total_duration", "eval_count", "eval_duration"))
    return lines


# --- GitHub Copilot in VS Code, Ollama as its provider ----------------------------------------------------


def test_copilot(ollama: Api) -> None:
    ollama.headers["User-Agent"] = "GitHubCopilotChat/0.40.0"
    version = ollama.get("/api/version").json()["version"]
    assert tuple(map(int, version.split("."))) >= (0, 17, 6)
    model = next(m["model"] for m in ollama.get("/api/tags").json()["models"] if CODER in m["model"])
    shown = ollama.post("/api/show", json={"model": model}).json()
    assert "tools" in shown["capabilities"] and "completion" in shown["capabilities"]
    family = shown["model_info"]["general.architecture"]
    assert shown["model_info"][f"{family}.context_length"] == 2048
    # Shown in the picker: the name as it was asked for.
    assert shown["model_info"]["general.basename"] == model
    body = {
        "model": model,
        "messages": [{"role": "system", "content": "You help."}, *ASK],
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [TOOL],
        "tool_choice": "auto",
        "temperature": 0,
        "top_p": 1,
        "n": 1,
        "max_tokens": 4,
    }
    chunks = sse(ollama.post("/v1/chat/completions", json=body))
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]][-1] == "length"
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["completion_tokens"] == 4


# --- JetBrains AI Assistant -------------------------------------------------------------------------------


def test_jetbrains_with_lm_studio(openai: Api) -> None:
    entries = {entry["id"]: entry for entry in openai.get("/api/v0/models").json()["data"]}
    entry = entries[CODER]
    assert entry["type"] == "llm" and entry["state"] == "loaded" and entry["compatibility_type"] == "gguf"
    assert entry["max_context_length"] == 2048 and "tool_use" in entry["capabilities"]
    body = {"model": CODER, "messages": ASK, "stream": True, "temperature": 0, "max_tokens": 4}
    chunks = sse(openai.post("/api/v0/chat/completions", json=body))
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    # Nobody asked for the counts: clients that take the first choice of every chunk live.
    assert all(chunk["choices"] for chunk in chunks)


def test_jetbrains_with_ollama_and_with_an_openai_key(ollama: Api, openai: Api) -> None:
    assert ollama.get("/").text == "Ollama is running"
    assert ollama.get("/api/tags").json()["models"]
    chat_lines(ollama.post("/api/chat", json={"model": CODER, "messages": ASK, "options": SHORT}))
    assert openai.get("/v1/models").json()["object"] == "list"
    entry = openai.get("/v1/models").json()["data"][0]
    # Plugins size their prompts by one of these.
    assert entry["context_length"] == entry["max_model_len"] == 2048 and entry["created"]


# --- Zed --------------------------------------------------------------------------------------------------


def test_zed_with_ollama(ollama: Api) -> None:
    for entry in ollama.get("/api/tags").json()["models"]:
        assert datetime.fromisoformat(entry["modified_at"]) and isinstance(entry["size"], int)
        assert len(entry["digest"]) == 64
        for name in ("format", "family", "parameter_size", "quantization_level"):
            assert isinstance(entry["details"][name], str)
        # One that fails would cost the whole list.
        shown = ollama.post("/api/show", json={"model": entry["name"]}).json()
        assert isinstance(shown["capabilities"], list)
    body = {
        "model": f"{CODER}:latest",
        "messages": [*ASK, {"role": "assistant", "content": "Hello."}, *ASK],
        "stream": True,
        "keep_alive": -1,
        "options": {"num_ctx": 16384, "num_predict": -1, "stop": ["<|im_end|>"], "temperature": 0} | SHORT,
        "think": False,
        "tools": [TOOL],
    }
    lines = chat_lines(ollama.post("/api/chat", json=body))
    assert lines[0]["model"] == f"{CODER}:latest"
    # Kept in memory for ever is far away, and no null.
    (running,) = [m for m in ollama.get("/api/ps").json()["models"] if CODER in m["name"]]
    assert datetime.fromisoformat(running["expires_at"]).year > 2100
    assert running["context_length"] == 2048


def test_zed_with_lm_studio(openai: Api) -> None:
    for entry in openai.get("/api/v0/models").json()["data"]:
        assert entry["type"] in ("llm", "vlm", "embeddings")
        assert entry["state"] in ("loaded", "loading", "not-loaded")
        assert all(
            isinstance(entry[name], str) for name in ("id", "object", "publisher", "arch", "quantization")
        )
        assert set(entry["capabilities"]) <= {"tool_use", "vision"}
        assert entry["state"] != "loaded" or isinstance(entry["loaded_context_length"], int)
    body = {
        "model": CODER,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "stream": True,
        "max_tokens": 4,
        "stop": [],
        "temperature": 0,
        "tools": [TOOL],
        "tool_choice": "auto",
    }
    for chunk in sse(openai.post("/api/v0/chat/completions", json=body)):
        assert chunk["created"] and chunk["model"] and chunk["object"] and isinstance(chunk["choices"], list)
    error = openai.post("/api/v0/chat/completions", json={**body, "model": "nope"})
    assert error.status_code == 404 and error.json()["error"]["message"]


# --- Continue ---------------------------------------------------------------------------------------------


def test_continue_with_ollama(ollama: Api) -> None:
    shown = ollama.post("/api/show", json={"name": CODER}).json()
    # It looks through both with regular expressions.
    assert re.search(r"^num_ctx\s+2048$", shown["parameters"], re.MULTILINE)
    assert ".Suffix" in shown["template"] and "insert" in shown["capabilities"]
    options = {"num_ctx": 8192, "stop": ["```"], **SHORT}
    chat = {"model": CODER, "messages": ASK, "options": options, "keep_alive": 1800, "think": False}
    chat_lines(ollama.post("/api/chat", json={**chat, "stream": True}))
    fim = {"model": CODER, "prompt": "def f(", "suffix": "\n", "options": options, "keep_alive": 1800}
    lines = ndjson(ollama.post("/api/generate", json={**fim, "raw": False, "stream": True}))
    assert "".join(line["response"] for line in lines) and lines[-1]["prompt_eval_count"] >= 5
    raw = {"model": CODER, "prompt": "def f(", "raw": True, "options": options}
    assert ndjson(ollama.post("/api/generate", json=raw))[-1]["eval_count"] == 4
    vectors = ollama.post("/api/embed", json={"model": VECTORS, "input": ["a", "b"]}).json()["embeddings"]
    assert [len(vector) for vector in vectors] == [64, 64]
    pull = ollama.post("/api/pull", json={"name": "nope"})
    assert pull.status_code == 501 and isinstance(pull.json()["error"], str)


def test_continue_with_llama_cpp_and_as_openai(openai: Api) -> None:
    body = {"model": CODER, "prompt": "def f(", "stream": True, "n_predict": 4, "temperature": 0}
    answer = openai.post("/completion", json=body)
    pieces = [json.loads(event.removeprefix("data: ")) for event in answer.text.split("\n\n") if event]
    assert "".join(piece["content"] for piece in pieces) and pieces[-1]["stop"] is True
    fim = {"model": CODER, "prompt": "def f(", "suffix": "\n", "max_tokens": 4, "temperature": 0}
    whole = openai.post("/v1/completions", json=fim).json()
    # The suffix was seen: a prompt of its own has fewer tokens.
    plain = openai.post("/v1/completions", json={**fim, "suffix": ""}).json()
    assert whole["usage"]["prompt_tokens"] > plain["usage"]["prompt_tokens"]
    chunks = sse(openai.post("/v1/completions", json={**fim, "stream": True}))
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole["choices"][0]["text"]
    embedded = openai.post("/v1/embeddings", json={"model": VECTORS, "input": ["a"], "dimensions": 16}).json()
    assert len(embedded["data"][0]["embedding"]) == 16


# --- Open WebUI -------------------------------------------------------------------------------------------


def test_open_webui_with_ollama(ollama: Api) -> None:
    ollama.headers["X-OpenWebUI-User-Name"] = "somebody"
    for path in ("/api/version", "/api/tags", "/api/ps"):
        assert ollama.get(path).headers["content-type"].startswith("application/json")
    for running in ollama.get("/api/ps").json()["models"]:
        assert running["model"] and datetime.fromisoformat(running["expires_at"])
    body = {
        "model": f"{CODER}:latest",
        "messages": [*ASK, {"role": "assistant", "content": "Hello.", "images": []}, *ASK],
        "options": {**SHORT, "stop": None},
        "format": None,
        "keep_alive": "5m",
        "think": None,
        "stream": True,
    }
    chat_lines(ollama.post("/api/chat", json=body))
    title = {"model": CODER, "messages": ASK, "stream": False, "options": SHORT, "format": {"type": "object"}}
    whole = ollama.post("/api/chat", json=title)
    assert whole.headers["content-type"].startswith("application/json")
    assert whole.json()["message"]["role"] == "assistant" and whole.json()["done"] is True
    assert ollama.post("/api/embed", json={"model": VECTORS, "input": "x"}).json()["embeddings"]
    assert ollama.post("/api/embeddings", json={"model": VECTORS, "prompt": "x"}).json()["embedding"]


def test_open_webui_with_openai(openai: Api) -> None:
    assert openai.get("/models").json()["data"]
    body = {"model": CODER, "messages": ASK, "stream": True, "max_tokens": 4, "temperature": 0}
    options = {"stream_options": {"include_usage": True}, "chat_id": "1", "params": {}, "features": {}}
    chunks = sse(openai.post("/chat/completions", json={**body, **options}))
    assert chunks[-1]["usage"]["total_tokens"] and chunks[-1]["timings"]["predicted_per_second"]


# --- agents and assistants --------------------------------------------------------------------------------


def test_home_assistant(ollama: Api) -> None:
    """Its options: a text for `keep_alive`, an empty `format`, tools always."""
    body = {
        "model": CODER,
        "messages": [{"role": "system", "content": "Lights."}, *ASK],
        "tools": [TOOL],
        "stream": True,
        "format": "",
        "keep_alive": "-1s",
        "options": {"num_ctx": 8192, **SHORT},
        "think": False,
    }
    chat_lines(ollama.post("/api/chat", json=body))


def test_a_tool_loop_with_ollama(ollama: Api) -> None:
    """Call and result as Cline, Roo and Goose send them back."""
    call = {"function": {"name": "read_file", "arguments": {"path": "a.txt"}}}
    told = [
        *ASK,
        {"role": "assistant", "content": "", "thinking": "Look.", "tool_calls": [call]},
        {"role": "tool", "tool_name": "read_file", "content": "empty"},
    ]
    body = {"model": CODER, "messages": told, "tools": [TOOL], "options": SHORT}
    chat_lines(ollama.post("/api/chat", json=body))


def test_aider_and_cline_with_openai(openai: Api) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "read_file", "arguments": '{"path": "a"}'}}
    told = [
        {"role": "developer", "content": "You help."},
        *ASK,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "empty"},
    ]
    body = {"model": CODER, "messages": told, "tools": [TOOL], "max_completion_tokens": 4, "temperature": 0}
    more = {"parallel_tool_calls": False, "store": False, "metadata": {}, "service_tier": "auto", "user": "u"}
    answer = openai.post("/v1/chat/completions", json={**body, **more, "stop": None, "seed": 1})
    assert answer.json()["choices"][0]["message"]["role"] == "assistant"
    assert answer.json()["usage"]["completion_tokens"] == 4


def test_claude_code(openai: Api) -> None:
    openai.headers.update({"x-api-key": "anything", "anthropic-version": "2023-06-01"})
    del openai.headers["Authorization"]
    body = {
        "model": CODER,
        "system": [{"type": "text", "text": "You help.", "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "tools": [
            {"name": "read_file", "description": "d", "input_schema": {"type": "object", "properties": {}}}
        ],
        "metadata": {"user_id": "u"},
    }
    counted = openai.post("/v1/messages/count_tokens?beta=true", json=body).json()
    assert counted["input_tokens"] > 10
    asked = {**body, "max_tokens": 4, "temperature": 0, "stream": True}
    events = named_events(openai.post("/v1/messages?beta=true", json=asked))
    assert events[0]["message"]["usage"]["input_tokens"] > 10
    assert [event["type"] for event in events][-2:] == ["message_delta", "message_stop"]
    assert events[-2]["delta"]["stop_reason"] == "max_tokens"
    long = {**asked, "messages": [{"role": "user", "content": "x " * 4000}]}
    error = openai.post("/v1/messages", json=long).json()
    # What makes it sum its conversation up instead of giving up.
    assert error["type"] == "error" and error["error"]["message"].startswith("prompt is too long")


def test_codex(openai: Api) -> None:
    body = {
        "model": CODER,
        "instructions": "You help.",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
        "tools": [{"type": "function", "name": "shell", "parameters": TOOL["function"]["parameters"]}],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning": None,
        "store": False,
        "stream": True,
        "include": [],
        "prompt_cache_key": "k",
        "max_output_tokens": 4,
        "temperature": 0,
    }
    events = named_events(openai.post("/v1/responses", json=body))
    kinds = [event["type"] for event in events]
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    assert events[-1]["response"]["usage"]["output_tokens"] == 4
    counted = openai.post("/v1/responses/input_tokens", json=body)
    assert counted.json()["input_tokens"] == events[-1]["response"]["usage"]["input_tokens"]


def test_lm_studios_own_chat(openai: Api) -> None:
    """As its documentation has it: events with names, the whole answer in the last, one that follows it."""
    body = {"model": CODER, "input": "hi", "max_output_tokens": 4, "temperature": 0}
    events = named_events(openai.post("/api/v1/chat", json={**body, "stream": True, "reasoning": "off"}))
    assert events[0] == {"type": "chat.start", "model_instance_id": CODER}
    result = events[-1]["result"]
    assert result["output"] == [
        {
            "type": "message",
            "content": "".join(event["content"] for event in events if event["type"] == "message.delta"),
        }
    ]
    assert result["stats"]["total_output_tokens"] == 4 and result["stats"]["tokens_per_second"] > 0
    follow = {**body, "previous_response_id": result["response_id"], "store": False}
    second = openai.post("/api/v1/chat", json=follow).json()
    assert second["stats"]["input_tokens"] > result["stats"]["input_tokens"]
    assert "response_id" not in second
    loaded = openai.post("/api/v1/models/load", json={"model": CODER, "echo_load_config": True}).json()
    assert loaded["status"] == "loaded" and loaded["load_config"] == {"context_length": 2048}
    (entry,) = [m for m in openai.get("/api/v1/models").json()["models"] if m["key"] == CODER]
    assert entry["capabilities"]["trained_for_tool_use"] and entry["capabilities"]["reasoning"]
    download = openai.post("/api/v1/models/download", json={"model": "x"})
    assert download.status_code == 501 and download.json()["error"]["type"] == "not_implemented"


def test_counting_and_other_paths_of_llama_server(openai: Api) -> None:
    assert openai.get("/health").json() == {"status": "ok"}
    tokens = openai.post("/tokenize", json={"model": CODER, "content": "hello"}).json()["tokens"]
    assert openai.post("/detokenize", json={"model": CODER, "tokens": tokens}).json()["content"] == "hello"
    prompt = openai.post("/apply-template", json={"model": CODER, "messages": ASK}).json()["prompt"]
    assert "<|im_start|>user" in prompt
    counted = openai.post("/v1/chat/completions/input_tokens", json={"model": CODER, "messages": ASK}).json()
    chat = openai.post("/v1/chat/completions", json={"model": CODER, "messages": ASK, "max_tokens": 1})
    assert counted["input_tokens"] == chat.json()["usage"]["prompt_tokens"]


def test_a_long_talk_goes_on_without_its_oldest_turns(ollama: Api, openai: Api) -> None:
    """As with Ollama itself; the header and the list of requests tell what was left out."""
    turns = [
        {"role": role, "content": f"{number} {'word ' * 150}"}
        for number in range(12)
        for role in ("user", "assistant")
    ]
    messages = [{"role": "system", "content": "Be brief."}, *turns, *ASK]
    body = {"model": CODER, "messages": messages, "options": SHORT}
    answer = ollama.post("/api/chat", json=body)
    assert chat_lines(answer)[-1]["done"] is True
    told = answer.headers["x-llama-runner"]
    assert re.search(r"warning=the \d+ oldest messages were left out", told), told
    # Whoever shortens by itself is told instead; OpenAI's clients do.
    assert ollama.post("/api/chat", json={**body, "truncate": False}).status_code == 400
    refused = openai.post("/v1/chat/completions", json={"model": CODER, "messages": messages})
    assert refused.json()["error"]["code"] == "context_length_exceeded"
