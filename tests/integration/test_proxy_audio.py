"""Recordings to be written down: a form goes on to whoever hears, with what is known of it and no more."""

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_runner.core.errors import InvalidRequestError
from llama_runner.proxy.forms import File, Form, read_form
from tests.fakes.raw_server import RawServer, raw_server, response
from tests.integration.routed_proxy import known, routed_proxy, routes

WAV: Final = b"RIFF\r\n--not the end\r\n\x00\xff" * 1000


def routed(folder: Path, url: str) -> Any:
    return routed_proxy(folder, known(url), routes=routes(ear=[f"whisper@{url}"]))


def client_of(proxy: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url="http://proxy/v1", api_key="any", http_client=proxy.openai, max_retries=0
    )


def form_of(server: RawServer) -> dict[str, list[str | File]]:
    """What it was sent last."""
    kind = re.search(rb"(?i)content-type: ([^\r]+)", server.heads[-1])
    assert kind is not None
    return read_form(kind[1].decode(), server.bodies[-1])


async def test_a_recording_is_written_down(tmp_path: Path) -> None:
    answer = response(json.dumps({"text": "Hello."}).encode())
    async with raw_server(lambda *_: answer) as server, routed(tmp_path, server.url) as proxy:
        told = await client_of(proxy).audio.transcriptions.create(
            model="ear",
            file=("../my secret.WAV", WAV),
            language="en",
            timestamp_granularities=["word", "segment"],
            extra_body={"path": "/etc/passwd"},
        )
        assert told.text == "Hello."
        # The server's own name for the model, of the file's name only its kind, and nothing unknown.
        assert form_of(server) == {
            "model": ["whisper"],
            "language": ["en"],
            "timestamp_granularities[]": ["word", "segment"],
            "file": [File("WAV", WAV)],
        }
        assert b"secret" not in server.bodies[-1]
        assert (proxy.last.outcome, proxy.last.model, proxy.last.path) == (
            "done",
            "ear",
            "/v1/audio/transcriptions",
        )


async def test_plain_text_stays_plain(tmp_path: Path) -> None:
    said = response(b"Hello.", content_type="text/plain")
    async with raw_server(lambda *_: said) as server, routed(tmp_path, server.url) as proxy:
        asked: Any = {"model": "ear", "file": ("a.mp3", WAV), "response_format": "text"}
        told: Any = await client_of(proxy).audio.transcriptions.create(**asked)
        assert told == "Hello."


EVENTS: Final[Any] = [
    {"type": "transcript.text.delta", "delta": "Hel"},
    {"type": "transcript.text.done", "text": "Hello"},
]


def stream_of(*events: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in events)


async def test_a_stream_stays_a_stream(tmp_path: Path) -> None:
    said = response(stream_of(*EVENTS), content_type="text/event-stream")
    async with raw_server(lambda *_: said) as server, routed(tmp_path, server.url) as proxy:
        streamed = await client_of(proxy).audio.transcriptions.create(
            model="ear", file=("a.mp3", WAV), stream=True
        )
        assert [event.type async for event in streamed] == [one["type"] for one in EVENTS]
        assert form_of(server)["stream"] == ["true"]


async def test_a_stream_that_breaks_off_says_so(tmp_path: Path) -> None:
    said = response(stream_of(EVENTS[0]), content_type="text/event-stream")
    async with raw_server(lambda *_: said) as server, routed(tmp_path, server.url) as proxy:
        form: Any = {"files": {"file": ("a.wav", WAV)}, "data": {"model": "ear", "stream": "true"}}
        answer = await proxy.openai.post("/v1/audio/transcriptions", **form)
        assert "incomplete" in json.loads(answer.text.rpartition("data: ")[2])["error"]["message"]


async def test_on_both_ports_a_model_that_does_not_hear_says_so(tmp_path: Path) -> None:
    async with routed_proxy(tmp_path) as proxy:
        for client in (proxy.openai, proxy.ollama):
            form: Any = {"files": {"file": ("a.wav", WAV)}, "data": {"model": "nobody"}}
            answer = await client.post("/v1/audio/transcriptions", **form)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1'),
        ("multipart/form-data; boundary=x", b'--x\r\nA: ; name="a"\r\n\r\n1\r\n' * 40 + b"--x--"),
        ("multipart/form-data; boundary=x", b'--x\r\nA: ; name="model"\r\n\r\near\r\n--x--'),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nA: ; name="file"; filename="a"\r\n\r\n1\r\n'
            b'--x\r\nA: ; name="temperature"\r\n\r\nhot\r\n--x--',
        ),
    ],
)
async def test_what_is_no_form_is_refused(tmp_path: Path, kind: str, body: bytes) -> None:
    """H15: before anybody else is asked."""
    async with raw_server(lambda *_: None) as server, routed(tmp_path, server.url) as proxy:
        answer = await proxy.openai.post(
            "/v1/audio/transcriptions", content=body, headers={"Content-Type": kind}
        )
        assert answer.status_code in (400, 404) and server.heads == []


def test_a_form_is_read_as_it_was_written() -> None:
    form = Form(File("mp3", WAV), {"language": ("en",), "prompt": ('a "b"\r\nc',)})
    assert read_form(form.content_type, form.encoded("é")) == {
        "model": ["é"],
        "language": ["en"],
        "prompt": ['a "b"\r\nc'],
        "file": [File("mp3", WAV)],
    }


@given(st.binary(max_size=300))
def test_any_bytes_are_a_form_or_none(body: bytes) -> None:
    with suppress(InvalidRequestError):
        read_form("multipart/form-data; boundary=x", b"--x" + body)
