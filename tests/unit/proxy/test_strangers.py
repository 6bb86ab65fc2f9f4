"""What clients on other machines are told of errors here (I25): what happened, never where."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from typing import Any

import httpx
import pytest

from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import EngineError, LlamaRunnerError, ModelFileError, UnreachableError
from llama_runner.net.client import open_http
from llama_runner.proxy.admission import Admission
from llama_runner.proxy.app import ollama_app, openai_app
from llama_runner.proxy.calls import Relays
from llama_runner.proxy.host import OfferedModel, Upstream
from llama_runner.proxy.records import RequestLog
from llama_runner.proxy.strangers import told

MODEL = "team/tiny"
SECRET = "/home/some one/models/tiny.gguf"
BROKEN = EngineError(f"llama-server could not read {SECRET}.", rf"Look at C:\Users\some one\{MODEL}.log.")
HERE, THERE = "127.0.0.1", "192.168.7.20"
CHAT: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
ASKED = [
    (openai_app, "/v1/chat/completions", CHAT),
    (openai_app, "/v1/chat/completions", {**CHAT, "stream": True}),
    (openai_app, "/v1/messages", CHAT),
    (openai_app, "/api/v1/models/load", {"model": MODEL}),
    (ollama_app, "/api/chat", CHAT),
    (ollama_app, "/api/generate", {"model": MODEL}),
]


class _BrokenHost:
    """One model that cannot be loaded."""

    async def offered(self) -> Sequence[OfferedModel]:
        return [OfferedModel(MODEL, "0" * 64, 1, 0.0)]

    @asynccontextmanager
    async def use(self, model_id: str) -> AsyncIterator[Upstream]:
        raise BROKEN
        yield Upstream("", "", model_id)

    def keep(self, model_id: str, idle_s: float | None) -> None:
        """It stays."""

    async def changed(self, limit_s: float) -> None:
        """It does not."""

    async def unload(self, model_id: str) -> None:
        """It stays."""


async def asked(app: Any, path: str, body: dict[str, Any], *, client: str) -> httpx.Response:
    clock = SystemClock()
    async with open_http() as http:
        shared = Relays(_BrokenHost(), http, clock, Admission(clock=clock), RequestLog())
        transport = httpx.ASGITransport(app=app(shared), client=(client, 5000))
        with closing(shared.kept):
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as asker:
                return await asker.post(path, json=body)


@pytest.mark.parametrize(("app", "path", "body"), ASKED)
async def test_a_load_that_fails_names_no_path_to_another_machine(
    app: Any, path: str, body: dict[str, Any]
) -> None:
    here = (await asked(app, path, body, client=HERE)).text
    there = (await asked(app, path, body, client=THERE)).text
    assert "some one" in here and "tiny.gguf" in here
    assert "some one" not in there and "tiny.gguf" not in there
    assert "its log says more" in there


def scope(client: str | None, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"client": None if client is None else (client, 1), "headers": list(headers)}


@pytest.mark.parametrize("client", [HERE, "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_whoever_asks_from_this_machine_is_told_all(client: str) -> None:
    assert told(BROKEN, scope(client)) is BROKEN


@pytest.mark.parametrize(
    "asked_by",
    [
        scope(THERE),
        scope("fe80::1"),
        scope("unknown"),
        scope(None),
        scope(HERE, (b"x-forwarded-for", b"8.8.8.8")),
    ],
)
def test_whoever_asks_from_elsewhere_is_told_what_happened(asked_by: dict[str, Any]) -> None:
    said = told(BROKEN, asked_by, MODEL)
    assert isinstance(said, EngineError)
    assert said.message == f"{MODEL} cannot be used on this server now."
    assert "some one" not in str(said)


@pytest.mark.parametrize(
    "error",
    [
        EngineError(f"{MODEL} ran out of memory.", "Use less context."),
        ModelFileError("The file is damaged.", "Download it again."),
        # About a server elsewhere, in words that have slashes.
        UnreachableError("http://192.168.7.30:8080 does not answer.", "See /health."),
    ],
)
def test_what_names_no_place_here_is_told_as_it_is(error: LlamaRunnerError) -> None:
    assert told(error, scope(THERE), MODEL) is error
