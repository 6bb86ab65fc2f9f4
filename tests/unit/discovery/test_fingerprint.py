"""Fingerprints: which server is this, from collected answers alone."""

import json

import pytest

from llama_runner.backends.base import Engine
from llama_runner.discovery.answers import ProbeAnswer
from llama_runner.discovery.fingerprint import (
    FIRST_STAGE,
    Fingerprint,
    NotAServer,
    Verdict,
    next_paths,
    verdict,
)
from llama_runner.discovery.registry import Certainty
from tests.fakes import model_servers
from tests.fakes.model_servers import NOT_FOUND, Reply, document


def ask(routes: dict[str, Reply], otherwise: Reply = NOT_FOUND) -> tuple[Verdict, list[str]]:
    """Play the probing on canned answers: the verdict, and what was asked."""
    answers: dict[str, ProbeAnswer] = {}
    while paths := next_paths(answers):
        for path in paths:
            reply = routes.get(path, otherwise)
            headers = {name.lower(): value for name, value in reply.headers.items()}
            answers[path] = ProbeAnswer(reply.status, headers, reply.body)
    return verdict(answers), list(answers)


def named(routes: dict[str, Reply], otherwise: Reply = NOT_FOUND) -> Fingerprint:
    found, _ = ask(routes, otherwise)
    assert isinstance(found, Fingerprint)
    return found


def refused(routes: dict[str, Reply], otherwise: Reply = NOT_FOUND) -> str:
    found, _ = ask(routes, otherwise)
    assert isinstance(found, NotAServer)
    return found.reason


def test_llama_server_is_known_by_its_header_and_tells_its_build() -> None:
    assert named(model_servers.llama_server()) == Fingerprint(
        Engine.LLAMA_SERVER, "llama-server", Certainty.CERTAIN, version="b9000-abc"
    )


def test_ollama_is_known_by_greeting_and_version() -> None:
    found = named(model_servers.ollama("llama3:latest"))

    assert found == Fingerprint(Engine.OLLAMA, "ollama", Certainty.CERTAIN, version="0.34.1")


def test_ollama_without_any_model_is_still_ollama() -> None:
    """Its list of models is then null."""
    assert named(model_servers.ollama()).engine is Engine.OLLAMA


def test_lm_studio_is_known_although_it_answers_200_to_everything() -> None:
    found = named(model_servers.lm_studio("a"), model_servers.LM_STUDIO_OTHERWISE)

    assert (found.engine, found.product) == (Engine.LM_STUDIO, "lm-studio")


def test_lm_studio_without_models_is_known_by_its_greeting() -> None:
    found = named(model_servers.lm_studio(), model_servers.LM_STUDIO_OTHERWISE)

    assert (found.engine, found.certainty) == (Engine.LM_STUDIO, Certainty.CERTAIN)


def test_vllm_is_known_by_the_owner_of_its_models() -> None:
    found = named(model_servers.vllm("m"))

    assert found == Fingerprint(Engine.VLLM, "vllm", Certainty.CERTAIN, version="0.11.0")


def test_koboldcpp_is_not_taken_for_the_servers_it_imitates() -> None:
    found = named(model_servers.koboldcpp("k"))

    assert (found.engine, found.product) == (Engine.OPENAI, "koboldcpp")


def test_koboldcpp_without_an_owner_is_known_by_its_own_path() -> None:
    routes = {**model_servers.koboldcpp("k"), **model_servers.generic("k")}

    assert named(routes).product == "koboldcpp"


def test_sglang_that_says_ollama_is_running_is_not_ollama() -> None:
    routes = model_servers.ollama("m")
    routes["/v1/models"] = document({"object": "list", "data": [{"id": "m", "owned_by": "sglang"}]})

    assert named(routes).product == "sglang"


def test_tags_with_foreign_digests_are_no_ollama() -> None:
    routes = model_servers.ollama("m")
    routes["/api/tags"] = document({"models": [{"name": "m", "digest": "sha256:sglang1"}]})

    assert named(routes).engine is Engine.OPENAI


def test_a_server_without_marks_is_openai_compatible() -> None:
    found = named(model_servers.generic("m"))

    assert found == Fingerprint(Engine.OPENAI, "openai-compatible", Certainty.LIKELY)


def test_old_llama_server_behind_no_header_is_known_by_its_props() -> None:
    routes = {**model_servers.generic("m"), "/props": model_servers.llama_server()["/props"]}

    assert named(routes).engine is Engine.LLAMA_SERVER


def test_litellm_and_localai_are_told_apart() -> None:
    lite = {**model_servers.generic("m"), "/health/liveliness": document("I'm alive!")}
    local = {**model_servers.generic("m"), "/.well-known/localai.json": document({"version": "3.1"})}

    assert named(lite).product == "litellm"
    assert named(local).product == "localai"


def test_a_key_that_is_wanted_is_proof_of_life() -> None:
    found = named({}, otherwise=Reply(b'{"error":"no"}', 401))

    assert found == Fingerprint(Engine.OPENAI, "openai-compatible", Certainty.GUESS, needs_key=True)


def test_llama_server_that_wants_a_key_is_known_and_not_asked_further() -> None:
    header = {"Server": "llama.cpp"}
    routes = {"/": Reply(b"", 200, header), "/v1/models": Reply(b"{}", 401, header)}

    found, asked = ask(routes)

    assert isinstance(found, Fingerprint)
    assert found.needs_key
    assert found.engine is Engine.LLAMA_SERVER
    assert asked == list(FIRST_STAGE)


def test_llama_server_that_is_loading_is_listed() -> None:
    header = {"Server": "llama.cpp"}
    loading = Reply(b'{"error":{"message":"Loading model"}}', 503, header)

    assert named({"/": loading, "/v1/models": loading}).loading


def test_a_login_page_of_a_router_is_no_server() -> None:
    """D9: the realm is not looked at, nothing is sent to it."""
    realm = {"WWW-Authenticate": 'Basic realm="http://evil.invalid"'}

    assert "login" in refused({}, otherwise=Reply(b"", 401, realm))


@pytest.mark.parametrize(
    "body", [b"<html>hi</html>", b"", b"null", b"[]", b'"x"', b"{}", b'{"data":null}', b'{"data":[1]}']
)
def test_d4_answers_without_a_model_list_are_not_listed_and_say_why(body: bytes) -> None:
    reason = refused({}, otherwise=Reply(body))

    assert "not an LLM server" in reason


def test_d4_what_is_no_server_is_asked_two_paths_only() -> None:
    _, asked = ask({}, otherwise=Reply(b"<html>"))

    assert asked == list(FIRST_STAGE)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_d10_redirects_are_named_and_not_followed(status: int) -> None:
    reason = refused({}, otherwise=Reply(b"", status, {"Location": "http://169.254.169.254/"}))

    assert "redirects" in reason
    assert "169.254" not in reason


def test_no_answer_at_all_gives_its_reason() -> None:
    answers = {path: ProbeAnswer(failure="No answer within 2 s.") for path in FIRST_STAGE}

    assert next_paths(answers) == ()
    assert verdict(answers) == NotAServer("No answer within 2 s.")


@pytest.mark.parametrize("version", [-1, 1.5, None, "9" * 5000, "", ["1"]])
def test_d16_versions_that_are_none_are_unknown(version: object) -> None:
    routes = model_servers.vllm("m")
    routes["/version"] = document({"version": version})

    assert named(routes).version is None


def test_only_get_paths_that_read_are_ever_asked() -> None:
    _, asked = ask(model_servers.generic("m"))

    assert not [path for path in asked if "completion" in path or "generate" in path or "pull" in path]


def test_a_million_entries_are_looked_at_briefly() -> None:
    entries = [{"id": "a"}] * 5 + [1] * 10_000
    body = json.dumps({"data": entries}).encode()

    assert named({"/v1/models": Reply(body)}).engine is Engine.OPENAI
