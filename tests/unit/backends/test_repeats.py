"""The short way for reads that differ in their text only: the same as the careful one, and really taken."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_runner.backends.events import StreamEvent, TextDelta
from llama_runner.backends.openai_decoder import OpenAIDecoder
from llama_runner.backends.repeats import Repeats
from tests.unit.backends.helpers import DONE, URL, run, text

KEY = b'"content":'


def event(content: str, *, spaced: bool = False, end: str | None = None, **more: object) -> bytes:
    choice = {"finish_reason": end, "index": 0, "delta": {"content": content}}
    separators = (", ", ": ") if spaced else (",", ":")
    document = {"choices": [choice], "created": 1, "model": "m", **more}
    return b"data: " + json.dumps(document, ensure_ascii=False, separators=separators).encode() + b"\n\n"


@pytest.mark.parametrize("spaced", [True, False])
@pytest.mark.parametrize("said", [" upon", "東京", "😀", "a/b", "'"])
def test_another_text_in_the_same_event_is_known(spaced: bool, said: str) -> None:
    known = Repeats(KEY)
    known.learn(event("Once", spaced=spaced), "Once")
    assert known.text(event(said, spaced=spaced)) == said


@pytest.mark.parametrize("said", ["", 'a"b', "a\\b", "a\nb", "\x7f", "\x9b", "\ufeff", "\u2028"])
def test_r5_a_text_that_needs_a_closer_look_is_not_given(said: str) -> None:
    known = Repeats(KEY)
    known.learn(event("Once"), "Once")
    assert known.text(event(said)) == ""


@pytest.mark.parametrize(
    "data",
    [
        event("x", created=2),
        event("x", end="stop"),
        event("x", error={"message": "boom"}),
        event("x") + event("y"),
        event("x")[:-1],
        event("x").replace(b"\n", b"\r\n"),
        event("ab").replace(b"ab", b"a\xff"),
        event("ab").replace(b"ab", b'a","content":"b'),
        b"",
        DONE,
    ],
)
def test_any_other_read_is_not_known(data: bytes) -> None:
    known = Repeats(KEY)
    assert known.text(event("Once")) == ""
    known.learn(event("Once"), "Once")
    assert known.text(data) == ""


def test_two_fields_of_that_name_are_not_learned() -> None:
    known = Repeats(KEY)
    twice = event("a", note={"content": "a"})
    known.learn(twice, "a")
    assert known.text(twice) == ""


def test_most_reads_of_an_answer_go_the_short_way() -> None:
    decoder = OpenAIDecoder(URL)
    decoder.feed(1, event("Once"))
    assert [decoder.plain_text(event(word)) for word in (" upon", " a", " time")] == [" upon", " a", " time"]
    assert text(decoder.feed(1, event(" there"))) == " there"


@pytest.mark.parametrize("before", [event("x")[:-1], b"event: error\n", event("<thi"), DONE])
def test_a_read_that_does_not_stand_for_itself_is_no_plain_text(before: bytes) -> None:
    decoder = OpenAIDecoder(URL)
    decoder.feed(1, event("Once"))
    decoder.feed(1, before)
    assert decoder.plain_text(event("y")) == ""


def test_t1_counts_in_every_event_are_not_lost() -> None:
    decoder = OpenAIDecoder(URL)
    timings = {"predicted_n": 4, "predicted_ms": 1.0}
    for stamp in (1, 2):
        (only,) = decoder.feed(stamp, event("Once", timings=timings))
        assert only == TextDelta(stamp, "Once", 4)


said = st.sampled_from(
    [
        "Once",
        " upon",
        "a",
        " ",
        "\n",
        '"',
        "\\",
        "<",
        "<think>",
        "hm</think>",
        "[",
        "é",
        "",
        "\x1b",
        "</think>",
    ]
)
ends = st.sampled_from([None, None, None, "stop"])
more = st.sampled_from(
    [
        {},
        {},
        {},
        {"usage": None},
        {"usage": {"completion_tokens": 3}},
        {"usage": {"prompt_tokens": 3}},
        {"created": 2},
    ]
)
reads = st.lists(
    st.builds(lambda content, end, extra: event(content, end=end, **extra), said, ends, more)
    | st.sampled_from([b":\n\n", b"event: message\n", event("x")[:-1], DONE]),
    max_size=12,
)


def outcome(decoder: OpenAIDecoder, parts: list[bytes]) -> tuple[list[StreamEvent], str, int, int]:
    events = run(decoder, *parts)
    return events, f"{decoder.failure}", decoder.bad_events, decoder.late_events


class Careful(OpenAIDecoder):
    def plain_text(self, data: bytes) -> str:
        return ""


@settings(max_examples=300)
@given(parts=reads)
def test_the_short_way_gives_what_the_careful_one_gives(parts: list[bytes]) -> None:
    parts = [event("Once"), event("!"), *parts]
    assert outcome(OpenAIDecoder(URL), parts) == outcome(Careful(URL), parts)
