"""Fingerprints: which server is this, from collected answers alone."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_runner.backends.base import Engine
from llama_runner.discovery.answers import ProbeAnswer
from llama_runner.discovery.fingerprint import Fingerprint, NotAServer, Verdict, next_paths, verdict
from llama_runner.discovery.products import FIRST_STAGE, LAST_STAGE, MARK_STAGE, OLLAMA_STAGE
from llama_runner.discovery.registry import Certainty
from tests.fakes import model_servers
from tests.fakes.model_servers import NOT_FOUND, Reply, document

PATHS = (*FIRST_STAGE, *MARK_STAGE, *OLLAMA_STAGE, *LAST_STAGE, "/health", "/version", "/server_info")
KEYS = (
    *("data", "object", "id", "owned_by", "type", "error", "has_more", "models", "version", "digest"),
    *("details", "family", "software", "name", "info", "title", "result", "lmstudio", "message", "status"),
)


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

    assert (found.engine, found.product, found.version) == (Engine.KOBOLDCPP, "koboldcpp", "1.90")


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


@pytest.mark.parametrize(
    ("routes", "engine", "product", "certainty", "version"),
    [
        (model_servers.sglang("m"), Engine.SGLANG, "sglang", "certain", "0.5.3"),
        (model_servers.tgi("m"), Engine.TGI, "tgi", "certain", "3.3.5"),
        (model_servers.tgi("m", lists=False), Engine.TGI, "tgi", "certain", "3.3.5"),
        (model_servers.local_ai("m"), Engine.LOCALAI, "localai", "certain", "v3.7.0"),
        (model_servers.koboldcpp("m"), Engine.KOBOLDCPP, "koboldcpp", "certain", "1.90"),
        (model_servers.lite_llm("m"), Engine.LITELLM, "litellm", "certain", "1.80"),
        (model_servers.llama_swap("m"), Engine.LLAMA_SWAP, "llama-swap", "certain", "v175"),
        (model_servers.llama_swap(), Engine.LLAMA_SWAP, "llama-swap", "certain", "v175"),
        (model_servers.lemonade("m"), Engine.OPENAI, "lemonade", "certain", "10.0.0"),
        (model_servers.lemonade(), Engine.OPENAI, "lemonade", "certain", "10.0.0"),
        (model_servers.tabby_api("m"), Engine.OPENAI, "tabbyapi", "certain", None),
        (model_servers.aphrodite("m"), Engine.OPENAI, "aphrodite", "certain", "0.10.0"),
        (model_servers.text_generation_webui("m"), Engine.OPENAI, "text-generation-webui", "certain", None),
        (model_servers.jan("m"), Engine.OPENAI, "jan", "certain", None),
        (model_servers.gpt4all("Big Model"), Engine.OPENAI, "gpt4all", "certain", None),
        (model_servers.mlx_lm("m"), Engine.OPENAI, "mlx-lm", "likely", None),
        (model_servers.docker_model_runner("m"), Engine.OPENAI, "docker-model-runner", "certain", None),
        (model_servers.anthropic("m"), Engine.ANTHROPIC, "anthropic", "likely", None),
        (model_servers.anthropic_without_key("m"), Engine.ANTHROPIC, "anthropic", "likely", None),
    ],
)
def test_every_known_server_is_told_from_those_it_resembles(
    routes: dict[str, Reply], engine: Engine, product: str, certainty: str, version: str | None
) -> None:
    found = named(routes)

    assert (found.engine, found.product, found.certainty, found.version) == (
        *(engine, product, certainty, version),
    )


@pytest.mark.parametrize("routes", [model_servers.jan("m"), model_servers.tabby_api("m")])
def test_a_server_that_is_known_without_its_key_still_says_that_it_needs_one(
    routes: dict[str, Reply],
) -> None:
    assert named(routes).needs_key


def test_a_server_that_answers_everything_alike_is_none_of_those_with_paths_of_their_own() -> None:
    """Its model list comes on every path, with a version and a status in it."""
    same = document({"object": "list", "data": [{"id": "m"}], "version": "1.0", "status": "ok"})

    found = named({}, otherwise=same)

    assert (found.engine, found.product) == (Engine.OPENAI, "openai-compatible")


def test_a_vllm_that_guards_its_models_is_known_by_what_it_does_not_guard() -> None:
    routes = {
        "/v1/models": document({"error": "Unauthorized"}, status=401, Server="uvicorn"),
        "/version": document({"version": "0.11.0"}),
    }

    found = named(routes)

    assert (found.engine, found.certainty, found.needs_key) == (Engine.VLLM, Certainty.LIKELY, True)
    assert found.version == "0.11.0"


def test_a_messages_server_that_wants_its_header_is_known_by_that_wish() -> None:
    error = {"type": "invalid_request_error", "message": "anthropic-version: header is required"}

    found = named({}, otherwise=document({"type": "error", "error": error}, status=400))

    assert (found.engine, found.certainty, found.needs_key) == (Engine.ANTHROPIC, Certainty.LIKELY, False)


def test_health_is_asked_only_of_what_may_be_mlx() -> None:
    """Some gateways ask every model they know when somebody looks at /health."""
    _, asked = ask(model_servers.generic("m"))
    _, asked_of_python = ask(model_servers.mlx_lm("m"))

    assert "/health" not in asked
    assert "/health" in asked_of_python


def test_any_server_on_pythons_own_web_server_is_not_mlx() -> None:
    routes = model_servers.mlx_lm("m")
    routes["/health"] = document({"status": "ok", "name": "mine"})

    assert named(routes).product == "openai-compatible"


def test_open_webui_is_named_and_not_listed() -> None:
    page = Reply(b"<!doctype html><html><head><title>Open WebUI</title></head></html>")

    assert "Open WebUI" in refused({}, otherwise=page)


def test_an_empty_page_with_nothing_behind_it_is_no_server() -> None:
    assert "status 404" in refused({"/": Reply(b"")})


def test_our_own_listener_is_no_stranger() -> None:
    ours = {"X-Llama-Runner": "1.2.3; step=local"}
    control = Reply(b'{"error":{"kind":"refused"}}', 401, ours)
    proxy = {**model_servers.ollama("m"), "/": Reply(b"Ollama is running", 200, ours)}

    assert refused({}, otherwise=control) == "It is Llama Runner itself."
    assert (named(proxy).product, named(proxy).version) == ("llama-runner", "1.2.3")


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


def test_litellm_is_known_where_it_fails_whoever_has_no_key() -> None:
    """Seen on the real one without a database."""
    page = Reply(b"<!DOCTYPE html><head><title>LiteLLM API - Swagger UI</title>")
    found = named({"/": page, "/v1/models": Reply(b"Internal Server Error", status=500)})

    assert (found.engine, found.product, found.certainty) == (Engine.LITELLM, "litellm", Certainty.CERTAIN)


@pytest.mark.parametrize("key", [True, False])
def test_a_gateway_is_not_taken_for_the_server_behind_it(key: bool) -> None:
    """Portkey passes on that server's header and model list, or wants to be told where it is."""
    behind = model_servers.llama_server() if key else {"/v1/models": Reply(b"{}", status=400)}
    found = named({**behind, "/": Reply(b"AI Gateway says hey!", headers={"Server": "llama.cpp"})})

    assert (found.engine, found.product) == (Engine.OPENAI, "portkey")


def test_a_locked_vllm_is_asked_for_its_version_early() -> None:
    """A busy one has no time for three rounds of questions."""
    refusal = ProbeAnswer(401, {"server": "uvicorn"}, b'{"error":"Unauthorized"}')

    assert "/version" in next_paths({"/": ProbeAnswer(404, {"server": "uvicorn"}), "/v1/models": refusal})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=10,
)
REPLIES = st.builds(
    lambda value, status, server: document(value, status=status, Server=server),
    JSON,
    st.sampled_from((200, 200, 200, 201, 400, 401, 403, 404, 500, 503)),
    st.sampled_from(("uvicorn", "llama.cpp", "BaseHTTP/0.6", "x")),
)


@given(st.dictionaries(st.sampled_from(PATHS), REPLIES), REPLIES)
def test_whatever_comes_back_there_is_a_verdict_after_a_bounded_number_of_questions(
    routes: dict[str, Reply], otherwise: Reply
) -> None:
    found, asked = ask(routes, otherwise)

    assert isinstance(found, Fingerprint | NotAServer)
    assert len(asked) == len(set(asked)) <= 25
    if isinstance(found, NotAServer):
        assert found.reason.endswith(".")
