"""Answers as large as they may be: parsed once each, and not on the loop that paints the window."""

import threading
from typing import Any

import pytest

from llama_runner.backends.base import Endpoint, Engine
from llama_runner.backends.openai import OpenAIBackend
from llama_runner.core import jsonio
from llama_runner.core.clock import SystemClock
from llama_runner.discovery import answers
from llama_runner.discovery.prober import probe
from llama_runner.net import fetch
from llama_runner.net.client import open_http
from tests.fakes.raw_server import raw_server

# Deeply bracketed, with an escaped control character: the slowest way through the parser.
BODY = b'{"object":"\\u0001","data":[' + b'{"id":"a"},[],' * 50_000 + b"{}]}"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


@pytest.fixture
def parsed_on(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads of every large parse."""
    threads: list[threading.Thread] = []

    def noting(data: bytes, **limits: Any) -> jsonio.JsonValue:
        if len(data) > fetch.INLINE_BYTES:
            threads.append(threading.current_thread())
        return jsonio.parse_json(data, **limits)

    for module in (answers, fetch):
        monkeypatch.setattr(module, "parse_json", noting)
    return threads


async def test_d5_a_probe_parses_each_large_answer_once_and_elsewhere(
    parsed_on: list[threading.Thread],
) -> None:
    async with raw_server(lambda *_: ANSWER) as server, open_http() as http:
        await probe(http, server.url, timeout_s=5, clock=SystemClock())
    assert 0 < len(parsed_on) <= len(server.heads)
    assert threading.main_thread() not in parsed_on


async def test_d5_a_long_model_list_is_parsed_elsewhere(parsed_on: list[threading.Thread]) -> None:
    async with raw_server(lambda *_: ANSWER) as server, open_http() as http:
        backend = OpenAIBackend(Endpoint(server.url, Engine.OPENAI), http=http, clock=SystemClock())
        assert len(await backend.list_models()) == 1000
    assert len(parsed_on) == 1
    assert threading.main_thread() not in parsed_on
