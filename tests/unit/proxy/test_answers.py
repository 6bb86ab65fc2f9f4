import json

import pytest

from llama_runner.core.errors import TruncatedError, UnreachableError
from llama_runner.proxy.answers import SseThrough
from llama_runner.proxy.openai_errors import engine_error, error_document

STREAM = b'data: {"a":1}\n\n: ping\n\ndata: [DONE]\n\n'


def through() -> SseThrough:
    return SseThrough("m", error_document)


def test_bytes_go_through_untouched_however_they_are_cut() -> None:
    """F23."""
    for cut in range(len(STREAM) + 1):
        writer = through()
        assert writer.feed(STREAM[:cut]) + writer.feed(STREAM[cut:]) + writer.end() == STREAM


def test_an_end_without_its_marker_is_told() -> None:
    """F22, F24: at every byte; the client sees whole events only."""
    marker_from = STREAM.index(b"data: [DONE]") + len(b"data: [DONE]")
    for cut in range(marker_from):
        writer = through()
        sent = writer.feed(STREAM[:cut])
        with pytest.raises(TruncatedError) as caught:
            writer.end()
        last = writer.broken(caught.value)
        *before, error = [part for part in (sent + last).split(b"\n\n") if part]
        assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "truncated"
        assert before in ([], [b'data: {"a":1}'], [b'data: {"a":1}', b": ping"])


def test_a_broken_answer_ends_with_an_error_event() -> None:
    writer = through()
    writer.feed(b'data: {"a":1}\n\n')
    last = writer.broken(UnreachableError("The engine is gone.", "Wait."))
    assert last.startswith(b"data: {") and last.endswith(b"\n\n")


def test_an_error_of_the_engines_own_is_not_followed_by_another() -> None:
    """S11."""
    stream = b'data: {"a":1}\n\ndata: {"error":{"message":"m"}}\n\n'
    writer = through()
    assert writer.feed(stream) + writer.end() == stream


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (
            {"error": {"code": 400, "type": "exceed_context_size_error", "message": "m"}},
            "context_length_exceeded",
        ),
        ({"error": {"code": 400, "type": "invalid_request_error", "message": "m"}}, None),
        ({"error": {"code": "word", "type": "x", "message": "m"}}, "word"),
    ],
)
def test_the_engines_error_gets_the_code_that_clients_look_for(body: object, code: str | None) -> None:
    status, changed = engine_error(400, json.dumps(body).encode())
    error = json.loads(changed)["error"]
    assert (status, error["code"], error["message"]) == (400, code, "m")


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b"[" * 100_000])
def test_an_engines_error_that_is_no_json_becomes_one(body: bytes) -> None:
    assert json.loads(engine_error(500, body)[1])["error"]["message"]


def test_our_key_refused_is_not_the_clients_fault() -> None:
    status, body = engine_error(401, b'{"error":{"message":"Invalid API Key","type":"authentication_error"}}')
    assert status == 502 and b"Invalid" not in body
