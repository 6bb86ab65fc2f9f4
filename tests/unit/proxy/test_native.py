"""Lines of Ollama's that go through untouched, however they are cut."""

import json

import pytest

from llama_runner.core.errors import TruncatedError, UnreachableError
from llama_runner.proxy.native import LinesThrough
from llama_runner.proxy.ollama_errors import error_document

LINES = (
    b'{"message":{"content":"caf\xc3\xa9 \\"done\\":true"},"done":false}\n'
    b'{"message":{"content":"x"},"done":false}\n'
    b'{"done": true,"eval_count":2}\n'
)


def through() -> LinesThrough:
    return LinesThrough("m", error_document)


@pytest.mark.parametrize("size", range(1, len(LINES) + 1))
def test_lines_are_whole_and_the_bytes_the_same(size: int) -> None:
    writer = through()
    pieces = [writer.feed(LINES[at : at + size]) for at in range(0, len(LINES), size)]
    assert all(piece.endswith(b"\n") for piece in pieces if piece)
    assert b"".join(pieces) + writer.end() == LINES


@pytest.mark.parametrize("cut", range(len(LINES) - 20))
def test_f24_an_end_without_a_last_line_is_no_end(cut: int) -> None:
    writer = through()
    writer.feed(LINES[:cut])
    with pytest.raises(TruncatedError):
        writer.end()


def test_a_last_line_without_its_end_is_one() -> None:
    writer = through()
    assert writer.feed(LINES[:-1]) + writer.end() == LINES[:-1]


def test_the_servers_own_error_is_an_end() -> None:
    writer = through()
    assert writer.feed(b'{"error":"out of memory"}\n') + writer.end() == b'{"error":"out of memory"}\n'


def test_a_broken_answer_ends_with_a_line_that_says_so() -> None:
    last = through().broken(UnreachableError("It is gone.", "Look."))
    assert (json.loads(last), last[-1:]) == ({"error": "It is gone. Look."}, b"\n")
