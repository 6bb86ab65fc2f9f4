"""Official clients against the proxy in a real service with a real engine and model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import ollama
import openai
import pytest

from tests.fakes.listening import occupied_port
from tests.integration.service_process import ServiceProcess, started_service

MODEL = "SmolLM2-135M-Instruct.Q4_1"
ASK: Any = [{"role": "user", "content": "Name three colours."}]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """One service for all of these: loading is tested elsewhere."""
    home = tmp_path_factory.mktemp("proxy")
    free = "127.0.0.1:0"
    with started_service(home, "--demo", "--openai", free, "--ollama", free) as running:
        # Loaded before the guard looks: an engine that appears during a test would be a leak of it.
        httpx.post(
            f"{running.ready['ollama']}/api/generate", json={"model": MODEL, "keep_alive": -1}, timeout=60
        )
        yield running


@pytest.fixture(autouse=True)
def guarded(service: ServiceProcess, leak_guard: None) -> None:
    """The service before the guard looks: it is no leak of the first test."""


@pytest.fixture
def oai(service: ServiceProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{service.ready['openai']}/v1", api_key="any", timeout=60, max_retries=0
    ) as client:
        yield client


@pytest.fixture
def oll(service: ServiceProcess) -> Iterator[ollama.Client]:
    client = ollama.Client(host=service.ready["ollama"], timeout=60)
    yield client
    client._client.close()


# --- openai -----------------------------------------------------------------------------------------------


def test_openai_lists_models_with_what_clients_read(oai: openai.OpenAI) -> None:
    (model,) = oai.models.list().data
    assert (model.id, model.object) == (MODEL, "model")
    assert model.created > 0
    assert oai.models.retrieve(MODEL).id == MODEL


def test_openai_answers_whole(oai: openai.OpenAI) -> None:
    answer = oai.chat.completions.create(model=MODEL, messages=ASK, max_tokens=8, temperature=0)
    assert answer.choices[0].message.content
    assert answer.usage is not None and answer.usage.completion_tokens == 8


def test_openai_streams_with_usage(oai: openai.OpenAI) -> None:
    stream = oai.chat.completions.create(
        model=MODEL,
        messages=ASK,
        max_tokens=8,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 8


def test_json_without_a_schema_is_json(oai: openai.OpenAI, oll: ollama.Client) -> None:
    """The engine itself holds answers to schemas only, and this model likes to answer with code."""
    person: Any = [{"role": "user", "content": "Give me a person as JSON."}]
    answer = oai.chat.completions.create(
        model=MODEL,
        messages=person,
        max_tokens=80,
        temperature=0,
        response_format={"type": "json_object"},
    )
    said = [answer.choices[0].message.content]
    options = {"num_predict": 80, "temperature": 0}
    said.append(oll.chat(MODEL, person, format="json", options=options).message.content)
    assert all(text and text.lstrip().startswith("{") for text in said), said


def test_openai_completions_and_json(oai: openai.OpenAI) -> None:
    plain = oai.completions.create(model=MODEL, prompt="The sky is", max_tokens=4, temperature=0)
    assert plain.choices[0].text
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    kind: Any = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    answer = oai.chat.completions.create(
        model=MODEL, messages=ASK, max_tokens=40, temperature=0, response_format=kind
    )
    assert (answer.choices[0].message.content or "").lstrip().startswith("{")


def test_openai_responses(oai: openai.OpenAI) -> None:
    answer = oai.responses.create(model=MODEL, input="Say hi.", max_output_tokens=8)
    assert answer.output_text


def test_openai_errors_are_typed(oai: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        oai.chat.completions.create(model="nope", messages=ASK)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as long:
        oai.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x " * 20_000}])
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match="temperature"):
        oai.chat.completions.create(model=MODEL, messages=ASK, temperature=-3)


def test_openai_pictures_are_refused_clearly(oai: openai.OpenAI) -> None:
    """T9: what would be fetched is refused here, what the model cannot see by the engine."""
    for url, word in (("http://169.254.169.254/x.png", "fetched"), (f"data:image/png;base64,{PNG}", "image")):
        part: Any = [{"type": "image_url", "image_url": {"url": url}}]
        with pytest.raises(openai.APIStatusError, match=word):
            oai.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": part}])


def test_openai_recordings_need_a_model_that_hears(oai: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="does not hear"):
        oai.audio.transcriptions.create(model=MODEL, file=("a.wav", b"RIFF"))


# --- ollama -----------------------------------------------------------------------------------------------


def test_ollama_lists_shows_and_says_what_runs(oll: ollama.Client) -> None:
    (model,) = oll.list().models
    # Lists show the full name, as Ollama's do; requests may leave the tag out.
    assert model.model == f"{MODEL}:latest"
    assert model.digest is not None and len(model.digest) == 64
    shown = oll.show(MODEL)
    assert shown.capabilities == ["completion"]
    assert shown.modelinfo is not None and shown.modelinfo["general.architecture"] == "llama"
    assert shown.modelinfo["llama.context_length"] == 8192
    oll.generate(model=MODEL)
    (running,) = oll.ps().models
    assert running.model == f"{MODEL}:latest" and running.expires_at is not None


def test_ollama_chats(oll: ollama.Client) -> None:
    answer = oll.chat(model=MODEL, messages=ASK, options={"num_predict": 8, "temperature": 0})
    assert answer.message.content and answer.eval_count == 8 and answer.done_reason == "length"
    assert answer.eval_duration and answer.total_duration and answer.total_duration >= answer.eval_duration


def test_ollama_streams(oll: ollama.Client) -> None:
    pieces = list(
        oll.chat(
            model=f"{MODEL}:latest", messages=ASK, stream=True, options={"num_predict": 8, "temperature": 0}
        )
    )
    assert "".join(piece.message.content or "" for piece in pieces)
    assert [piece.done for piece in pieces][-2:] == [False, True]
    # Answers echo the name that was asked for.
    assert pieces[0].model == f"{MODEL}:latest"


@pytest.mark.parametrize("raw", [True, False])
def test_ollama_generates(oll: ollama.Client, raw: bool) -> None:
    answer = oll.generate(
        model=MODEL, prompt="The sky is", raw=raw, options={"num_predict": 4, "temperature": 0}
    )
    assert answer.response and answer.eval_count == 4


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("top", [0, 2])
def test_ollama_says_how_sure_the_model_was(oll: ollama.Client, streamed: bool, top: int) -> None:
    """Each token stands with its text; the chosen one is the most likely, as the sampling is greedy."""
    options = {"num_predict": 4, "temperature": 0}
    more: Any = {"logprobs": True, "top_logprobs": top, "options": options}
    client: Any = oll
    chats = client.chat(MODEL, ASK, stream=streamed, **more)
    raws = client.generate(MODEL, "The sky is", raw=True, stream=streamed, **more)
    for found, key in ((chats, "message"), (raws, "response")):
        parts = list(found) if streamed else [found]
        told = [one for part in parts for one in part.logprobs or ()]
        said = "".join(part.message.content if key == "message" else part.response for part in parts)
        assert len(told) == 4 and "".join(one.token for one in told) == said
        assert all(one.logprob <= 0 and len(one.top_logprobs or ()) == top for one in told)
        assert top == 0 or all(one.top_logprobs[0].token == one.token for one in told)
        assert not streamed or sum(bool(part.logprobs) for part in parts) >= 4


def test_ollama_errors_are_texts(oll: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="model 'nope' not found") as missing:
        oll.chat(model="nope", messages=ASK)
    assert missing.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="does not support tools") as tools:
        oll.chat(model=MODEL, messages=ASK, tools=[{"type": "function", "function": {"name": "f"}}])
    assert tools.value.status_code == 400
    with pytest.raises(ollama.ResponseError, match="does not support thinking"):
        oll.chat(model=MODEL, messages=ASK, think=True)
    with pytest.raises(ollama.ResponseError, match="embeddings"):
        oll.embed(model=MODEL, input="x")


def test_ollama_management_is_refused_and_nothing_changes(oll: ollama.Client) -> None:
    """H19."""
    for refused in (
        lambda: oll.pull("nope"),
        lambda: oll.push(MODEL),
        lambda: oll.create("x", from_=MODEL),
        lambda: oll.copy(MODEL, "x"),
        lambda: oll.delete(MODEL),
    ):
        with pytest.raises(ollama.ResponseError) as caught:
            refused()  # type: ignore[no-untyped-call]
        assert caught.value.status_code == 501
    # What is there is up to date: some clients pull before they ask.
    assert oll.pull(MODEL).status == "success"
    assert [part.status for part in oll.pull(MODEL, stream=True)] == ["pulling manifest", "success"]
    assert [model.model for model in oll.list().models] == [f"{MODEL}:latest"]


# --- LM Studio, and what clients look at first ---------------------------------------------------------


def test_lm_studio_lists_every_field_that_strict_clients_need(service: ServiceProcess) -> None:
    base = service.ready["openai"]
    assert httpx.get(f"{base}/lmstudio-greeting", timeout=60).json() == {"lmstudio": True}
    (entry,) = httpx.get(f"{base}/api/v0/models", timeout=60).json()["data"]
    assert (entry["type"], entry["state"], entry["compatibility_type"]) == ("llm", "loaded", "gguf")
    assert entry["max_context_length"] == entry["loaded_context_length"] == 8192
    (entry,) = httpx.get(f"{base}/api/v1/models", timeout=60).json()["models"]
    assert entry["loaded_instances"][0]["id"] == MODEL


def test_lm_studio_adds_its_figures_to_a_whole_answer(service: ServiceProcess) -> None:
    url = f"{service.ready['openai']}/api/v0/chat/completions"
    answer = httpx.post(
        url, json={"model": MODEL, "messages": ASK, "max_tokens": 6, "temperature": 0}, timeout=60
    )
    assert answer.json()["stats"]["tokens_per_second"] > 0
    assert answer.json()["stats"]["stop_reason"] == "maxPredictedTokensReached"
    assert "step=local" in answer.headers["x-llama-runner"]
    assert "upstream;dur=" in answer.headers["server-timing"]


def test_curl_without_a_content_type_works(service: ServiceProcess) -> None:
    """H9: as in Ollama's own examples."""
    body = f'{{"model": "{MODEL}", "prompt": "hi", "stream": false, "options": {{"num_predict": 2}}}}'
    url = f"{service.ready['ollama']}/api/generate"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert httpx.post(url, content=body, headers=form, timeout=60).json()["done"] is True


def test_unknown_paths_are_404_in_json(service: ServiceProcess) -> None:
    """H16."""
    for base in (service.ready["openai"], service.ready["ollama"]):
        for path in ("/nope", "/v1/../admin", "//v1/models", "/v1/chat/completions/", "/api/%2e%2e/x"):
            answer = httpx.get(f"{base}{path}", timeout=60)
            assert answer.status_code == 404, path
            assert answer.json()["error"]


@pytest.mark.parametrize("dialect", ["openai", "ollama"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
        {"Host": "evil.test"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_web_pages_reach_no_route(service: ServiceProcess, dialect: str, headers: dict[str, str]) -> None:
    """H1, H6, H9: every route and method, unknown ones too."""
    for path in ("/", "/v1/models", "/api/tags", "/v1/chat/completions", "/api/pull", "/nope"):
        for method in ("GET", "POST", "OPTIONS", "DELETE"):
            answer = httpx.request(method, service.ready[dialect] + path, headers=headers, timeout=60)
            assert answer.status_code in (403, 421), (method, path)
            assert "access-control-allow-origin" not in answer.headers


BODIES = {
    "empty": b"",
    "a list": b"[]",
    "a text": b'"x"',
    "cut": b"{",
    "a number as name": b'{"model": 5}',
    "not UTF-8": b'{"model": "\xff"}',
    "UTF-16": '{"model": "x"}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"model": "x"}',
    "deep": b"[" * 10_000,
    "deep inside": b'{"model": "%s", "messages": %s}' % (MODEL.encode(), b"[" * 100 + b"]" * 100),
    "not a number": b'{"model": "%s", "messages": [], "temperature": NaN}' % MODEL.encode(),
    "messages a text": b'{"model": "%s", "messages": "x"}' % MODEL.encode(),
    "a million messages": b'{"model": "%s", "messages": [%s]}' % (MODEL.encode(), b"{}," * 999_999 + b"{}"),
    "stream a text": b'{"model": "%s", "messages": [{"role": "user"}], "stream": "yes"}' % MODEL.encode(),
    "stream a number": b'{"model": "%s", "messages": [{"role": "user"}], "stream": 1}' % MODEL.encode(),
}
PATHS = ("/v1/chat/completions", "/v1/messages", "/api/v1/chat", "/api/v0/chat/completions")


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_bodies_that_make_no_sense_are_400(service: ServiceProcess, body: bytes) -> None:
    """H15, H25, in each dialect."""
    for path in PATHS:
        if b'"messages"' in body and path == "/api/v1/chat":
            continue  # Its conversation is called otherwise: another test's.
        answer = httpx.post(service.ready["openai"] + path, content=body, timeout=30)
        assert answer.status_code == 400, path
        error = answer.json()
        assert error["error"]["message"] and error["error"]["type"]
        assert error.get("type") == ("error" if path == "/v1/messages" else None)
    answer = httpx.post(f"{service.ready['ollama']}/api/chat", content=body, timeout=30)
    assert answer.status_code == 400
    assert isinstance(answer.json()["error"], str)


def test_a_name_that_is_there_twice_has_one_meaning(service: ServiceProcess) -> None:
    """H15: the last counts, for the choice of the model and for what the engine is sent."""
    body = (
        b'{"model": "nope", "model": "%s", "messages": [{"role": "user", "content": "x"}]}' % MODEL.encode()
    )
    short = body[:-1] + b', "temperature": 0, "max_tokens": 1, "max_tokens": 2}'
    answer = httpx.post(f"{service.ready['openai']}/v1/chat/completions", content=short, timeout=30)
    assert answer.json()["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize("name", ["http://169.254.169.254/x", "../../etc/passwd", "/etc/passwd", "a" * 9999])
def test_a_name_is_looked_up_and_nothing_else(service: ServiceProcess, name: str) -> None:
    """H17, I6."""
    body = {"model": name, "messages": ASK, "api_base": "http://169.254.169.254", "headers": {"x": "y"}}
    answer = httpx.post(f"{service.ready['openai']}/v1/chat/completions", json=body, timeout=60)
    assert answer.status_code == 404 and answer.json()["error"]["code"] == "model_not_found"
    answer = httpx.post(f"{service.ready['ollama']}/api/show", json=body, timeout=60)
    assert answer.status_code == 404 and "not found" in answer.json()["error"]


def test_more_choices_than_slots_and_a_million_texts_are_refused(service: ServiceProcess) -> None:
    """H25: several answers in one stream are the engine's to give, as many as it has slots."""
    url = f"{service.ready['openai']}/v1"
    two = {"model": MODEL, "messages": ASK, "n": 2, "stream": True, "max_tokens": 2, "temperature": 0}
    streamed = httpx.post(f"{url}/chat/completions", json=two, timeout=30)
    assert streamed.status_code == 200 and '"index":1' in streamed.text.replace(" ", "")
    assert httpx.post(f"{url}/chat/completions", json={**two, "n": 16}, timeout=30).status_code == 400
    many = httpx.post(f"{url}/embeddings", json={"model": MODEL, "input": ["x"] * 1_000_000}, timeout=30)
    assert many.status_code == 400 and "input" in many.json()["error"]["message"]
    whole = httpx.post(f"{url}/embeddings", json={"model": MODEL, "input": "x", "stream": True}, timeout=30)
    assert whole.json()["error"]["message"].startswith("This model was not loaded to make embeddings")


def test_a_schema_that_would_hang_the_engine_does_not(service: ServiceProcess) -> None:
    """H18: what others would wait for is left out, and the answer comes."""
    schema = {"type": "string", "pattern": "^" + "(a|b)?" * 100 + "$"}
    kind = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    body = {"model": MODEL, "messages": ASK, "max_tokens": 3, "temperature": 0, "response_format": kind}
    answer = httpx.post(f"{service.ready['openai']}/v1/chat/completions", json=body, timeout=15)
    assert answer.json()["choices"][0]["message"]["content"].startswith('"')


def test_a_busy_port_costs_one_dialect_and_is_named(tmp_path: Path) -> None:
    """F12."""
    with (
        occupied_port() as port,
        started_service(tmp_path, "--openai", f"127.0.0.1:{port}", "--ollama", "127.0.0.1:0") as service,
    ):
        assert service.ready["openai"] is None
        assert httpx.get(service.ready["ollama"], timeout=60).text == "Ollama is running"
        token = service.run_file.token
        health = httpx.get(
            f"{service.url}/api/v1/health", headers={"Authorization": f"Bearer {token}"}, timeout=60
        )
        (notice,) = health.json()["notices"]
        assert str(port) in notice and "--openai" in notice
