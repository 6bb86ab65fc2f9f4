"""Log probabilities in Ollama's lines, however the engine's stream is cut."""

import json
from typing import Any

import pytest

from llama_runner.core.jsonio import dump_json
from llama_runner.proxy.ollama_errors import error_document
from llama_runner.proxy.ollama_logprobs import WithLogprobs


class Lines:
    """Stands in for the writer of lines: one for each text, a last one, or all of it at the end."""

    content_type = "application/x-ndjson"

    def __init__(self, *, streamed: bool) -> None:
        self._streamed = streamed
        self._said = ""

    def feed(self, data: bytes) -> bytes:
        document = json.loads(data.removeprefix(b"data: "))
        text = document["choices"][0]["delta"].get("content", "")
        self._said += text
        return dump_json({"response": text}) + b"\n" if self._streamed and text else b""

    def end(self) -> bytes:
        return dump_json({"response": "" if self._streamed else self._said, "done": True}) + b"\n"

    def broken(self, error: Any) -> bytes:
        return dump_json(error_document(error)) + b"\n"

    def ping(self) -> bytes:
        return b""


def event(text: str, *tokens: Any) -> bytes:
    choice: Any = {"delta": {"content": text}, "logprobs": {"content": list(tokens)}}
    return b"data: " + dump_json({"choices": [choice]}) + b"\n\n"


def token(text: str, *others: str) -> dict[str, Any]:
    one: dict[str, Any] = {"id": 7, "token": text, "logprob": -0.5, "bytes": list(text.encode())}
    return {**one, "top_logprobs": [token(other) for other in others]} if others else one


@pytest.mark.parametrize("size", [1, 5, 10_000])
@pytest.mark.parametrize("streamed", [True, False])
def test_each_token_stands_with_its_text_however_the_stream_is_cut(size: int, streamed: bool) -> None:
    stream = (
        event("é", token("é", "é", "e")) + event("", token("<0xE2>")) + event("–x", token("–"), token("x"))
    )
    writer = WithLogprobs(Lines(streamed=streamed), 1)
    out = b"".join(writer.feed(stream[at : at + size]) for at in range(0, len(stream), size)) + writer.end()
    lines = [json.loads(line) for line in out.splitlines()]
    told = [[one["token"] for one in line.get("logprobs", ())] for line in lines]
    # What has no text of its own goes with the next that has.
    assert told == ([["é"], ["<0xE2>", "–", "x"], []] if streamed else [["é", "<0xE2>", "–", "x"]])
    first = lines[0]["logprobs"][0]
    others = [{"token": "é", "logprob": -0.5, "bytes": [195, 169]}]
    assert first == {"token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": others}


def test_without_others_asked_for_none_are_told() -> None:
    writer = WithLogprobs(Lines(streamed=True), 0)
    (line,) = writer.feed(event("a", token("a", "a", "b"))).splitlines()
    assert json.loads(line)["logprobs"] == [{"token": "a", "logprob": -0.5, "bytes": [97]}]


@pytest.mark.parametrize(
    "said", ['{"choices": 3, "logprobs": 1}', '{"choices":[{"logprobs":{"content":4}}]}']
)
def test_nonsense_is_for_who_reads_the_text(said: str) -> None:
    class Quiet(Lines):
        def feed(self, data: bytes) -> bytes:
            return b"{}\n"

    assert WithLogprobs(Quiet(streamed=True), 2).feed(f"data: {said}\n\n".encode()) == b"{}\n"


def test_an_impossible_token_is_null_and_the_line_stays_json() -> None:
    """Some servers write -Infinity, which JSON has not."""
    impossible = event("a", token("a")).replace(b"-0.5", b"-Infinity")
    out = WithLogprobs(Lines(streamed=True), 0).feed(impossible)
    assert b"Infinity" not in out
    assert json.loads(out)["logprobs"][0]["logprob"] is None
