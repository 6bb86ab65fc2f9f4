"""Names that lead elsewhere: aliases, chosen servers, routes of several steps; what a client sees of it."""

import asyncio
import json
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llama_runner.backends.base import Engine
from llama_runner.core.clock import SystemClock
from llama_runner.core.paths import home_at
from llama_runner.discovery.keys import KeyPlace, KeyStore
from llama_runner.net.keys import origin_of
from tests.fakes.listening import occupied_port
from tests.fakes.metronome import Metronome, start_metronome
from tests.fakes.metronome_plan import Plan
from tests.fakes.raw_server import raw_server
from tests.fakes.waiting import until
from tests.integration.routed_proxy import address, home_with, known, routed_proxy, routes

WORDS = "w1 w2 w3 w4 w5 w6 w7 w8 "


@pytest.fixture(scope="module")
def server() -> Iterator[Metronome]:
    found = start_metronome(engine="openai-compatible", models=("big",))
    yield found
    found.close()


@pytest.fixture(autouse=True)
def guarded(server: Metronome, engines: dict[Engine, Metronome], leak_guard: None) -> None:
    """The servers before the guard looks: they are no leak of the first test."""


def nobody() -> str:
    """A URL where nothing listens."""
    with occupied_port() as port:
        return f"http://127.0.0.1:{port}"


def said(text: str) -> str:
    """The text of a streamed answer in OpenAI's words."""
    events = [line[6:] for line in text.splitlines() if line.startswith("data: {")]
    deltas = [choice["delta"] for event in events for choice in json.loads(event)["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


async def test_models_of_a_chosen_server_are_offered_and_answer(tmp_path: Path, server: Metronome) -> None:
    name = f"big@{address(server.url)}"
    async with routed_proxy(tmp_path, known(server.url), servers=[server.url]) as proxy:
        listed = [entry["id"] for entry in (await proxy.openai.get("/v1/models")).json()["data"]]
        assert name in listed
        answer = await proxy.chat(name, stream=True)
        assert (answer.status_code, said(answer.text)) == (200, WORDS)
        assert f"step={address(server.url)}" in answer.headers["x-llama-runner"]
        assert proxy.last.step == address(server.url)
        assert proxy.last.output_tokens == 8


async def test_a_server_that_nobody_chose_is_not_offered(tmp_path: Path, server: Metronome) -> None:
    async with routed_proxy(tmp_path, known(server.url, "big")) as proxy:
        assert "@" not in (await proxy.openai.get("/v1/models")).text
        answer = await proxy.chat(f"big@{address(server.url)}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


async def test_an_alias_is_a_route_of_one_step(tmp_path: Path, server: Metronome) -> None:
    target = f"big@{server.url}"
    async with routed_proxy(tmp_path, known(server.url), routes=routes(gpt=[target])) as proxy:
        tags = (await proxy.ollama.get("/api/tags")).json()["models"]
        assert "gpt:latest" in [tag["name"] for tag in tags]
        assert said((await proxy.chat("gpt", stream=True)).text) == WORDS
        assert server.last("").body["model"] == "big"


async def test_a_refused_step_is_passed_over_for_the_next_before_the_first_byte(
    tmp_path: Path, server: Metronome
) -> None:
    gone = nobody()
    steps = [f"big@{gone}", f"big@{server.url}"]
    async with routed_proxy(tmp_path, known(gone), known(server.url), routes=routes(way=steps)) as proxy:
        answer = await proxy.chat("way")
        assert answer.status_code == 200
        assert answer.headers["x-llama-runner"].endswith(f"step={address(server.url)}; attempts=2")
        assert [one.where for one in proxy.last.tried] == [address(gone)]
        assert "Nothing listens" in proxy.last.tried[0].why


@pytest.mark.parametrize("status", [401, 404, 429, 500, 502, 503])
async def test_a_status_that_is_not_the_requests_fault_leads_to_the_next_step(
    tmp_path: Path, server: Metronome, status: int
) -> None:
    head = f"HTTP/1.1 {status} No\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{{}}"
    async with raw_server(lambda *_: head.encode()) as first:
        steps = [f"m@{first.url}", f"big@{server.url}"]
        servers = (known(first.url), known(server.url))
        async with routed_proxy(tmp_path, *servers, routes=routes(way=steps)) as proxy:
            assert (await proxy.chat("way")).status_code == 200
            assert [one.where for one in proxy.last.tried] == [address(first.url)]


async def test_a_request_that_is_wrong_itself_is_not_sent_on(tmp_path: Path, server: Metronome) -> None:
    body = json.dumps({"error": {"message": "no such option", "type": "invalid_request_error"}})
    head = f"HTTP/1.1 400 No\r\nContent-Length: {len(body)}\r\nContent-Type: application/json\r\n\r\n{body}"
    async with raw_server(lambda *_: head.encode()) as first:
        steps = [f"m@{first.url}", f"big@{server.url}"]
        servers = (known(first.url), known(server.url))
        async with routed_proxy(tmp_path, *servers, routes=routes(way=steps)) as proxy:
            answer = await proxy.chat("way")
            assert (answer.status_code, answer.json()["error"]["message"]) == (400, "no such option")


async def test_after_the_first_byte_no_other_step_is_asked(tmp_path: Path, server: Metronome) -> None:
    cut = Plan(id="cut", tokens=8, reset_at=3).model_id()
    steps = [f"{cut}@{server.url}", f"big@{server.url}"]
    async with routed_proxy(tmp_path, known(server.url), routes=routes(way=steps)) as proxy:
        answer = await proxy.chat("way", stream=True)
        assert said(answer.text.replace('data: {"error"', 'error: {"error"')) == "w1 w2 w3 "
        assert '"error"' in answer.text
        assert "[DONE]" not in answer.text
        assert proxy.last.tried == ()


async def test_when_no_step_answers_the_error_tells_of_each(tmp_path: Path) -> None:
    one, two = nobody(), nobody()
    steps = [f"m@{one}", f"m@{two}"]
    async with routed_proxy(tmp_path, known(one), known(two), routes=routes(way=steps)) as proxy:
        answer = await proxy.chat("way")
        told = answer.json()["error"]["message"]
        assert answer.status_code == 502
        assert address(one) in told
        assert address(two) in told


async def test_a_model_that_is_not_here_leads_to_the_next_step(tmp_path: Path, server: Metronome) -> None:
    steps = ["not-here", f"big@{server.url}"]
    async with routed_proxy(tmp_path, known(server.url), routes=routes(way=steps)) as proxy:
        assert (await proxy.chat("way")).status_code == 200
        assert [one.where for one in proxy.last.tried] == ["local"]


async def test_f20_a_black_hole_costs_its_time_and_no_more(tmp_path: Path, server: Metronome) -> None:
    async with raw_server(lambda *_: None) as silent:
        steps = [f"m@{silent.url}", f"big@{server.url}"]
        servers = (known(silent.url), known(server.url))
        async with routed_proxy(tmp_path, *servers, routes=routes(way=steps), step_timeout_s=0.3) as proxy:
            assert (await proxy.chat("way")).status_code == 200
            assert "did not begin to answer within 0.3 s" in proxy.last.tried[0].why


async def test_f19_a_server_that_is_down_is_passed_over_and_used_again_when_it_is_back(
    tmp_path: Path, server: Metronome
) -> None:
    gone = nobody()
    steps = [f"big@{gone}", f"big@{server.url}"]
    async with routed_proxy(tmp_path, known(gone), known(server.url), routes=routes(way=steps)) as proxy:
        for _ in range(5):
            assert (await proxy.chat("way")).status_code == 200
            assert "Nothing listens" in proxy.last.tried[0].why
        assert (await proxy.host.routes()).routes[0].steps[0].passed_over
        await proxy.chat("way")
        assert "passed over" in proxy.last.tried[0].why
        back = start_metronome(models=("big",), port=int(gone.rpartition(":")[2]))
        try:
            # It is back: at most this long until somebody tries it.
            proxy.clock.ahead_s += 10
            answer = await proxy.chat("way")
            assert f"step={address(gone)}" in answer.headers["x-llama-runner"]
            assert not (await proxy.host.routes()).routes[0].steps[0].passed_over
        finally:
            back.close()


async def test_f21_a_slow_server_is_no_broken_one(tmp_path: Path, server: Metronome) -> None:
    """Prefill of 0.4 s with a limit of 5 s, again and again: nothing trips, and the record says how long."""
    slow = Plan(id="slow", prefill_ms=400, role_ms=None, tokens=3, gap_ms=20).model_id()
    steps = [f"{slow}@{server.url}", f"big@{server.url}"]
    settings: dict[str, Any] = {"routes": routes(way=steps), "step_timeout_s": 5}
    async with routed_proxy(tmp_path, known(server.url), **settings) as proxy:
        for _ in range(6):
            answer = await proxy.chat("way", stream=True)
            assert said(answer.text) == "w1 w2 w3 "
            assert proxy.last.tried == ()
            assert (proxy.last.first_byte_s or 0.0) >= 0.4


ENGINES = [Engine.OLLAMA, Engine.ANTHROPIC, Engine.OPENAI, Engine.LLAMA_SERVER]


@pytest.fixture(scope="module")
def engines() -> Iterator[dict[Engine, Metronome]]:
    """One server of each kind."""
    found = {engine: start_metronome(engine=str(engine), models=("big",)) for engine in ENGINES}
    yield found
    for one in found.values():
        one.close()


@pytest.mark.parametrize("engine", [Engine.ANTHROPIC, Engine.OPENAI, Engine.LLAMA_SERVER])
async def test_an_openai_client_uses_servers_of_other_dialects(
    tmp_path: Path, engines: dict[Engine, Metronome], engine: Engine
) -> None:
    url = engines[engine].url
    async with routed_proxy(tmp_path, known(url, "big", engine=engine), servers=[url]) as proxy:
        answer = await proxy.chat(f"big@{address(url)}", stream=True)
        assert answer.status_code == 200, answer.text
        assert said(answer.text) == WORDS
        assert answer.text.endswith("data: [DONE]\n\n")
        if engine is Engine.ANTHROPIC:
            # The metronome streams whatever it is asked for; behind the bridge that makes no difference.
            whole = (await proxy.chat(f"big@{address(url)}")).json()
            assert whole["choices"][0]["message"]["content"] == WORDS
            assert whole["choices"][0]["finish_reason"] == "stop"
            assert whole["usage"]["completion_tokens"] == 8


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("streamed", [True, False])
async def test_an_ollama_client_uses_servers_of_any_dialect(
    tmp_path: Path, engines: dict[Engine, Metronome], engine: Engine, streamed: bool
) -> None:
    url = engines[engine].url
    name = f"big@{address(url)}"
    async with routed_proxy(tmp_path, known(url, "big", engine=engine), servers=[url]) as proxy:
        options = {"temperature": 0.5, "repeat_last_n": 8}
        body = {"model": name, "messages": [{"role": "user", "content": "Hello"}], "stream": streamed}
        answer = await proxy.ollama.post("/api/chat", json={**body, "options": options})
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert "".join(line["message"]["content"] for line in lines) == WORDS
        assert (lines[-1]["done"], lines[-1]["eval_count"]) == (True, 8)
        sent = engines[engine].last("").body
        # What only llama-server knows is not for others.
        assert ("repeat_last_n" in sent) == (engine is Engine.LLAMA_SERVER)
        if engine is Engine.OLLAMA:
            # Its own dialect goes through as it is.
            assert sent == {**body, "model": "big", "options": options}


async def test_a_server_that_may_be_another_one_gets_no_prompt(tmp_path: Path, server: Metronome) -> None:
    changed = known(server.url, "big", changed="It has other models.")
    before = len(server.log())
    async with routed_proxy(tmp_path, changed, servers=[server.url]) as proxy:
        answer = await proxy.chat(f"big@{address(server.url)}")
        assert answer.status_code == 502
        assert "may be another server" in answer.json()["error"]["message"]
    assert len(server.log()) == before


async def test_a_request_does_not_go_round_in_circles(tmp_path: Path, server: Metronome) -> None:
    name = f"big@{address(server.url)}"
    async with routed_proxy(tmp_path, known(server.url, "big"), servers=[server.url]) as proxy:
        body = {"model": name, "messages": [{"role": "user", "content": "x"}]}
        answer = await proxy.openai.post(
            "/v1/chat/completions", json=body, headers={"X-Llama-Runner-Hops": "3"}
        )
        assert "circles" in answer.json()["error"]["message"]


async def test_an_overflow_and_a_cut_prompt_are_told(tmp_path: Path, server: Metronome) -> None:
    """The metronome counts words; this one says it read fewer tokens than there are words."""
    body = json.dumps(
        {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 90, "completion_tokens": 1}}
    )
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nContent-Type: application/json\r\n\r\n{body}"
    error = json.dumps({"error": {"code": 400, "type": "exceed_context_size_error", "message": "too long"}})
    refusal = f"HTTP/1.1 400 No\r\nContent-Length: {len(error)}\r\n\r\n{error}"
    async with raw_server(lambda number, _: (head if number == 0 else refusal).encode()) as reader:
        route = routes(way=[f"m@{reader.url}"])
        async with routed_proxy(tmp_path, known(reader.url), routes=route) as proxy:
            answer = await proxy.chat("way", "word " * 400)
            assert answer.status_code == 200
            assert proxy.last.warning == "the prompt was cut"
            assert answer.headers["x-llama-runner"].endswith("warning=the prompt was cut")
            answer = await proxy.chat("way", "word " * 400)
            assert answer.status_code == 400
            assert answer.json()["error"]["code"] == "context_length_exceeded"
            assert "warning=the prompt does not fit the context" in answer.headers["x-llama-runner"]
            assert (proxy.last.outcome, proxy.last.error) == ("refused", "context_overflow")


async def test_a_servers_own_key_goes_there_and_nowhere_else(tmp_path: Path) -> None:
    locked = start_metronome(engine="openai-compatible", models=("big",), api_key="sk-of-this-server")
    try:
        home = home_with(tmp_path, known(locked.url, "big", key_place="file"))
        store = KeyStore(home.data_dir, SystemClock())
        await store.put(origin_of(locked.url), "sk-of-this-server", KeyPlace.FILE)
        async with routed_proxy(tmp_path, servers=[locked.url]) as proxy:
            answer = await proxy.openai.post(
                "/v1/chat/completions",
                json={"model": f"big@{address(locked.url)}", "messages": [], "stream": True},
                headers={"Authorization": "Bearer of-the-client"},
            )
            assert said(answer.text) == WORDS
            assert locked.last("").authorization == "Bearer sk-of-this-server"
            # A key that is taken away is not used any more.
            await store.forget(origin_of(locked.url))
            proxy.clock.ahead_s += 2
            assert (await proxy.chat(f"big@{address(locked.url)}")).status_code in (401, 502)
    finally:
        locked.close()


async def test_a_server_that_another_program_adds_is_found(tmp_path: Path, server: Metronome) -> None:
    async with routed_proxy(tmp_path, servers=[server.url]) as proxy:
        assert "@" not in (await proxy.openai.get("/v1/models")).text
        home_with(tmp_path, known(server.url))
        proxy.clock.ahead_s += 2
        assert f"big@{address(server.url)}" in (await proxy.openai.get("/v1/models")).text


@pytest.mark.parametrize("wanted", [True, False])
async def test_prompts_are_logged_only_when_a_person_wants_it_and_without_keys(
    tmp_path: Path, server: Metronome, wanted: bool
) -> None:
    route = routes(way=[f"big@{server.url}"])
    async with routed_proxy(tmp_path, known(server.url), routes=route, log_prompts=wanted) as proxy:
        await proxy.chat("way", "Mind my key: sk-0123456789abcdef, and this.", stream=True)
    file = home_at(tmp_path).logs_dir / "prompts.log"
    assert file.exists() == wanted
    if wanted:
        (line,) = file.read_text().splitlines()
        entry = json.loads(line)
        assert (entry["model"], entry["step"]) == ("way", address(server.url))
        assert "and this." in entry["asked"]
        assert "sk-0123456789abcdef" not in line
        assert "w8" in entry["answered"]
        assert os.name != "posix" or file.stat().st_mode & 0o077 == 0


async def test_a_route_may_lead_to_a_route_and_never_in_circles(tmp_path: Path, server: Metronome) -> None:
    found = routes(gpt=["coder"], coder=["gpt", f"big@{server.url}"], nowhere=["nowhere"])
    async with routed_proxy(tmp_path, known(server.url), routes=found) as proxy:
        assert said((await proxy.chat("gpt", stream=True)).text) == WORDS
        assert [one.name for one in (await proxy.host.routes()).routes if not one.steps] == ["nowhere"]
        assert (await proxy.chat("nowhere")).status_code == 404


async def test_routes_that_fork_again_and_again_are_followed_once_each(
    tmp_path: Path, server: Metronome
) -> None:
    """Eight forks at each of twenty routes would be more ways than can ever be tried."""
    step = f"big@{server.url}"
    forks = {f"r{number}": [f"r{number + 1}"] * 8 for number in range(20)}
    async with routed_proxy(tmp_path, known(server.url), routes=routes(**forks, r20=[step])) as proxy:
        assert all(len(one.steps) == 1 for one in (await proxy.host.routes()).routes)
        assert said((await proxy.chat("r0", stream=True)).text) == WORDS


async def test_what_another_proxy_has_from_elsewhere_is_not_offered(tmp_path: Path) -> None:
    names = ("qwen:latest", "qwen@q4_k_m", "qwen@10.0.0.1:1234", "qwen@10.0.0.1:1234:latest")
    other = start_metronome(engine="openai-compatible", models=names)
    try:
        async with routed_proxy(tmp_path, known(other.url), servers=[other.url]) as proxy:
            listed = [entry["id"] for entry in (await proxy.openai.get("/v1/models")).json()["data"]]
            here = [name for name in listed if name.endswith(address(other.url))]
            assert here == [f"qwen@{address(other.url)}", f"qwen@q4_k_m@{address(other.url)}"]
            assert said((await proxy.chat(here[1], stream=True)).text) == WORDS
            assert other.last("").body["model"] == "qwen@q4_k_m"
    finally:
        other.close()


async def test_a_server_with_a_certificate_that_a_person_trusts_is_asked_over_tls(tmp_path: Path) -> None:
    certificates = pytest.importorskip("tests.fakes.certificates")
    tls_model_server = pytest.importorskip("tests.fakes.tls_models").tls_model_server
    signed = certificates.certificate("127.0.0.1")
    async with tls_model_server(signed, tmp_path) as server:
        route = routes(way=[f"tiny@{server.url}"])
        stranger = known(server.url, "tiny")
        async with routed_proxy(tmp_path, stranger, routes=route) as proxy:
            answer = await proxy.chat("way", stream=True)
            assert (answer.status_code, answer.json()["error"]["code"]) == (502, "unreachable")
            assert server.heads == [b""] * len(server.heads)
            home_with(tmp_path, replace(stranger, tls_pin=signed.sha256, trusted=True))
            proxy.clock.ahead_s += 2
            answer = await proxy.chat("way", stream=True)
            assert said(answer.text) == "Blue"
            assert proxy.last.prompt_tokens == 3


@pytest.mark.parametrize("engine", [Engine.OPENAI, Engine.ANTHROPIC])
async def test_h23_leaving_closes_the_way_to_a_known_server(
    tmp_path: Path, engines: dict[Engine, Metronome], engine: Engine
) -> None:
    url, plan = engines[engine].url, Plan(id=f"left-{engine}", tokens=1000, gap_ms=20)
    route = routes(way=[f"{plan.model_id()}@{url}", "never-asked"])
    async with routed_proxy(tmp_path, known(url, engine=engine), routes=route) as proxy:
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(proxy.chat("way", stream=True))
            await until(lambda: proxy.requests.records and proxy.last.first_byte_s is not None, limit_s=30)
            asking.cancel()
        entry = await asyncio.to_thread(engines[engine].last, plan.id)
        assert entry.ended == "closed by client"
        # Whoever leaves proves nothing against a server, and asks no other.
        assert not (await proxy.host.routes()).routes[0].steps[0].passed_over
        assert proxy.last.tried == ()


async def test_d10_a_redirect_is_no_answer_and_not_followed(tmp_path: Path, server: Metronome) -> None:
    head = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.9:1/\r\nContent-Length: 0\r\n\r\n"
    async with raw_server(lambda *_: head.encode()) as away:
        only, both = [f"m@{away.url}"], [f"m@{away.url}", f"big@{server.url}"]
        servers = (known(away.url), known(server.url))
        async with routed_proxy(tmp_path, *servers, routes=routes(only=only, both=both)) as proxy:
            answer = await proxy.chat("only")
            assert answer.status_code == 502
            assert "127.0.0.9" not in answer.text
            assert said((await proxy.chat("both", stream=True)).text) == WORDS


@pytest.mark.parametrize("name", ["plain", 'quo"ted', "üñí\u2028"])
async def test_the_server_is_asked_for_its_own_models_name(
    tmp_path: Path, server: Metronome, name: str
) -> None:
    async with routed_proxy(
        tmp_path, known(server.url), routes=routes(**{name: [f"big@{server.url}"]})
    ) as proxy:
        text = 'Say "model": "' + name
        assert said((await proxy.chat(name, text, stream=True)).text) == WORDS
        sent = server.last("").body
        assert (sent["model"], sent["messages"][0]["content"]) == ("big", text)


FAULTS = (
    b"",
    b"no HTTP at all\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n",
    b"HTTP/1.1 500 Broken\r\nContent-Length: 6\r\n\r\n<html>",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 100\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
)


async def test_whatever_a_server_does_before_its_first_byte_every_request_is_answered(
    tmp_path: Path, server: Metronome
) -> None:
    """120 requests from 8 clients, the first step failing in every way there is; nothing is left behind."""
    faults = random.Random(4).choices(FAULTS, k=1000)
    async with raw_server(lambda number, _: faults[number]) as first:
        steps = [f"m@{first.url}", f"big@{server.url}"]
        servers = (known(first.url), known(server.url))
        async with routed_proxy(tmp_path, *servers, routes=routes(way=steps)) as proxy:
            waiting = iter(range(120))

            async def client() -> None:
                for _ in waiting:
                    answer = await proxy.chat("way", stream=True)
                    assert said(answer.text) == WORDS, answer.text
                    # Its pause is over each time: it goes on failing.
                    proxy.clock.ahead_s += 10

            async with asyncio.TaskGroup() as group:
                for _ in range(8):
                    group.create_task(client())
            whys = {one.tried[0].why for one in proxy.requests.records if one.tried}
            assert len(whys) >= len(FAULTS)
            assert all(one.outcome == "done" for one in proxy.requests.records)
            assert (proxy.admission.waiting, proxy.admission.in_flight(steps[0])) == (0, 0)
