"""Whatever a server sends and however the network cuts it: the same events, never an exception (S1 to S3)."""

import json
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llama_runner.backends import ollama_decoder, openai_decoder
from llama_runner.backends.decoding import DecoderBase
from llama_runner.backends.events import StreamEvent
from llama_runner.backends.ollama_decoder import OllamaDecoder
from llama_runner.backends.openai_decoder import OpenAIDecoder
from tests.unit.backends.helpers import URL, run

Make = Callable[[str], DecoderBase]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
texts = st.text(max_size=12) | st.sampled_from(
    [
        *("a\u2028b", "\u2029", "\x85", "\x0b\x0c", "😀", "\r\n", "data: [DONE]"),
        *("\x00", "\x1b[31m", "\x7f", "\x9b", "\ud83d", "<think>", "</think>", "<th", "ink>"),
    ]
)
keys = st.sampled_from(
    ["content", "reasoning_content", "reasoning", "thinking", "tool_calls", "role", "refusal"]
)
fields = st.dictionaries(keys, texts | json_values, max_size=3)
counts = st.dictionaries(
    st.sampled_from(["prompt_tokens", "completion_tokens", "predicted_n", "predicted_ms", "prompt_ms"]),
    json_values,
)
ordinary_fields = st.dictionaries(st.sampled_from(["content", "reasoning_content"]), texts, max_size=2)
ordinary_counts = st.sampled_from(
    [None, {}, {"completion_tokens": 3, "predicted_n": 4}, {"completion_tokens": -1}]
)
ordinary_documents = st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({"delta": ordinary_fields}), max_size=1)},
    optional={"usage": ordinary_counts, "timings": ordinary_counts, "id": texts},
)
openai_documents = ordinary_documents | st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({"index": st.integers(-1, 1), "delta": fields}), max_size=2)},
    optional={"usage": counts, "timings": counts, "prompt_progress": counts, "error": st.none() | texts},
)
ollama_documents = st.fixed_dictionaries({"message": ordinary_fields}) | st.fixed_dictionaries(
    {"message": fields},
    optional={"done": st.booleans(), "eval_count": json_values, "error": st.none() | texts},
)
ends = st.sampled_from([b"\n", b"\r", b"\r\n"])
ascii_only = st.booleans()


@st.composite
def openai_bodies(draw: st.DrawFn) -> bytes:
    end, escaped = draw(ends), draw(ascii_only)
    body = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    for document in draw(st.lists(openai_documents | ordinary_documents | json_values, max_size=6)):
        before = [b": ping" + end + end, b"event: error" + end, b"event: x" + end, b"event: message" + end]
        body += draw(st.sampled_from([*[b""] * 16, *before]))
        body += (
            b"data: "
            + json.dumps(document, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
            + end
            + end
        )
    return body + draw(
        st.sampled_from([b"", b"data: [DONE]", b"data: [DONE]" + end + end, b"\xff\xfe", b"<"])
    )


@st.composite
def ollama_bodies(draw: st.DrawFn) -> bytes:
    end, escaped = draw(ends), draw(ascii_only)
    documents = draw(st.lists(ollama_documents | json_values, max_size=6))
    return b"".join(
        json.dumps(d, ensure_ascii=escaped).encode("utf-8", "surrogatepass") + end for d in documents
    )


def cut_at(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


def outcome(make: Make, reads: list[bytes]) -> tuple[list[StreamEvent], str, int]:
    decoder = make(URL)
    events = run(decoder, *reads)
    return events, f"{type(decoder.failure).__name__} {decoder.failure}", decoder.bad_events


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_the_property_tests_reach_text(end: bytes) -> None:
    assert outcome(OllamaDecoder, [b'{"message":{"content":"a"}}' + end])[0]


@given(body=openai_bodies(), cuts=st.lists(st.integers(0, 100_000), max_size=10))
def test_every_split_of_an_openai_stream_gives_the_same_events(body: bytes, cuts: list[int]) -> None:
    assert outcome(OpenAIDecoder, cut_at(body, cuts)) == outcome(OpenAIDecoder, [body])


@given(body=ollama_bodies(), cuts=st.lists(st.integers(0, 100_000), max_size=10))
def test_every_split_of_an_ollama_stream_gives_the_same_events(body: bytes, cuts: list[int]) -> None:
    assert outcome(OllamaDecoder, cut_at(body, cuts)) == outcome(OllamaDecoder, [body])


@pytest.mark.parametrize(
    ("make", "bodies"), [(OpenAIDecoder, openai_bodies()), (OllamaDecoder, ollama_bodies())]
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_r5_the_ordinary_way_gives_what_the_careful_one_gives(
    make: Make, bodies: st.SearchStrategy[bytes], monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    body = data.draw(bodies)
    broken = bytearray(body)
    for at, byte in data.draw(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=3)):
        if broken:
            broken[at % len(broken)] = byte
    for reads in ([body], [bytes(broken)]):
        quick = outcome(make, reads)
        with monkeypatch.context() as patch:
            patch.setattr(openai_decoder, "openai_chunk", lambda data: None)
            patch.setattr(ollama_decoder, "ollama_line", lambda data: None)
            assert outcome(make, reads) == quick


@given(body=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=6))
def test_any_bytes_end_in_events_or_a_failure(body: bytes, cuts: list[int]) -> None:
    for make in (OpenAIDecoder, OllamaDecoder):
        events, failure, _ = outcome(make, cut_at(body, cuts))
        assert events == []
        assert failure != "NoneType None"
