"""Reasoning between tags in the answer's text, however the network cuts it (protocols 4.4, S18)."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_runner.backends.events import Finished, ReasoningDelta, StreamEvent, TextDelta, TextWasReasoning
from llama_runner.backends.fold import AnswerFold
from llama_runner.backends.reasoning import TAG_PAIRS, ReasoningSplitter
from llama_runner.core.trace import TokenKind
from tests.unit.backends.helpers import DONE, delta, ollama, openai, reasoning, sse, text

OPENING = [opening for opening, _ in TAG_PAIRS]
CLOSING = [closing for _, closing in TAG_PAIRS]
HARMONY = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes."


def split(*pieces: str) -> list[StreamEvent]:
    """Piece number n has stamp n and count 10 n."""
    splitter, events = ReasoningSplitter(), list[StreamEvent]()
    for number, piece in enumerate(pieces):
        splitter.feed(number, piece, 10 * number, events)
    splitter.flush(events)
    return events


def folded(*pieces: str) -> tuple[str, str]:
    """Reasoning and text as an answer shows them."""
    fold = AnswerFold()
    for event in split(*pieces):
        fold.add(event)
    snapshot = fold.snapshot()
    return snapshot.reasoning, snapshot.text


@pytest.mark.parametrize(("opening", "closing"), TAG_PAIRS)
def test_each_pair_is_told_apart_cut_at_every_place(opening: str, closing: str) -> None:
    """S18."""
    whole = f"\n{opening}\nHm <b> [1].{closing}\n\nYes <i> [2]"
    for cut in range(1, len(whole)):
        assert folded(whole[:cut], whole[cut:]) == ("Hm <b> [1].", "\nYes <i> [2]")
    assert folded(*whole) == ("Hm <b> [1].", "\nYes <i> [2]")


def test_what_stands_between_reasoning_and_answer_of_gpt_oss_is_left_out() -> None:
    for pieces in ([HARMONY], list(HARMONY)):
        assert folded(*pieces) == ("Hm.", "Yes.")
    assert folded("<|channel|>final<|message|>Yes.") == ("", "Yes.")


@pytest.mark.parametrize("closing", [closing for closing in CLOSING if closing != "<|end|>"])
def test_a_lone_closing_tag_ends_reasoning_that_the_template_opened(closing: str) -> None:
    """S18: pre-opened. Text is not held back for it: it turns out to have been reasoning."""
    whole = f"Hm, 1 < 2.\n{closing}\n\nYes."
    for cut in range(1, len(whole)):
        assert folded(whole[:cut], whole[cut:]) == ("Hm, 1 < 2.\n", "Yes.")
    assert split("Hm", closing, "Yes") == [
        TextDelta(0, "Hm", 0),
        TextWasReasoning(1),
        TextDelta(2, "Yes", 20),
    ]
    assert folded(closing + "Yes") == ("", "Yes")


def test_stamps_of_text_that_was_reasoning_say_so() -> None:
    fold = AnswerFold()
    for event in split("Hm", "!", "</think>", "Yes"):
        fold.add(event)
    fold.add(Finished(9, None))
    fold_kinds = [stamp.kind for stamp in fold._stamps]
    assert fold_kinds == [TokenKind.REASONING, TokenKind.REASONING, TokenKind.TEXT]


def test_every_piece_keeps_its_own_stamp_and_count() -> None:
    assert split("<th", "ink>a<", "/th", "ought", "</think", ">b") == [
        ReasoningDelta(1, "a", 10),
        ReasoningDelta(1, "<", 10),
        ReasoningDelta(2, "/th", 20),
        ReasoningDelta(3, "ought", 30),
        TextDelta(5, "b", 50),
    ]


def test_text_waits_for_no_more_than_the_beginning_of_a_possible_tag() -> None:
    splitter, events = ReasoningSplitter(), list[StreamEvent]()
    for piece in ("Is ", "1 <", " 2", "? a[", "0] </", "b> <thin", "g"):
        splitter.feed(1, piece, None, events)
    assert text(events) == "Is 1 < 2? a[0] </b> <thing"
    for piece in ("\n", " x", " <|inner_suffi"):
        splitter.feed(1, piece, None, events)
    assert text(events) == "Is 1 < 2? a[0] </b> <thing\n x "
    splitter.flush(events)
    assert text(events).endswith(" <|inner_suffi")


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("Use <think>x</think> for it.", ("", "Use <think>x</think> for it.")),
        ("It ends with `</think>`, or '</think>'.", ("", "It ends with `</think>`, or '</think>'.")),
        ("<think>a</think>b</think>c", ("a", "b</think>c")),
        ("<think>a</think>\n<think>b</think>c", ("ab", "c")),
        ("<think>a<think>b</think>c", ("a<think>b", "c")),
        ("<think>never closed", ("never closed", "")),
        ("<think></think>c", ("", "c")),
        ("<think>a</thi", ("a</thi", "")),
        ("<th", ("", "<th")),
        ("[TH", ("", "[TH")),
        ("[1, 2]", ("", "[1, 2]")),
        ("Hm <|end|> x", ("", "Hm <|end|> x")),
        ("", ("", "")),
        (" \n", ("", " \n")),
    ],
    ids=[
        "subject",
        "quoted",
        "closed twice",
        "two blocks",
        "nested",
        "unclosed",
        "empty block",
        "closing tag cut",
        "opening tag cut",
        "bracket cut",
        "a list",
        "end of turn",
        "nothing",
        "blanks",
    ],
)
def test_odd_tags_are_shown_the_same_however_they_are_cut(answer: str, wanted: tuple[str, str]) -> None:
    """S18."""
    assert folded(*answer) == wanted
    for cut in range(1, len(answer)):
        assert folded(answer[:cut], answer[cut:]) == wanted


parts = st.lists(
    st.sampled_from([*OPENING, *CLOSING, "<", "[", "</", "`", "\n", " ", "a", "word", "<|start|>assistant"]),
    max_size=12,
).map("".join)


@given(answer=parts, cuts=st.lists(st.integers(0, 200), max_size=8))
def test_every_split_gives_the_same_answer(answer: str, cuts: list[int]) -> None:
    places = sorted({cut % (len(answer) + 1) for cut in cuts})
    pieces = [answer[a:b] for a, b in zip([0, *places], [*places, len(answer)], strict=True)]
    assert folded(*(piece for piece in pieces if piece)) == (folded(answer) if answer else ("", ""))


@given(answer=parts)
def test_stamps_never_go_back_and_nothing_but_tags_and_blanks_is_lost(answer: str) -> None:
    events = split(*answer)
    stamps = [event.t_ns for event in events]
    assert stamps == sorted(stamps)
    kept = "".join(folded(*answer))
    for tag in (*OPENING, *CLOSING, "<|start|>assistant"):
        answer, kept = answer.replace(tag, ""), kept.replace(tag, "")
    assert sorted("".join(kept.split())) == sorted("".join(answer.split()))


@pytest.mark.parametrize("many", ["<think>" * 10_000, "<think>a</think>" * 10_000, "`</think>" * 10_000])
def test_ten_thousand_tags_cost_no_more_than_their_length(many: str) -> None:
    """S18: in one event, and in as many as there are tags."""
    began_s = time.process_time()
    events = split(many)
    assert len(events) <= 10_000
    step = len(many) // 10_000
    cut = split(*(many[at : at + step] for at in range(0, len(many), step)))
    assert (reasoning(cut), text(cut)) == (reasoning(events), text(events))
    # Two seconds would be 100 us per tag; each copied anew would take minutes.
    assert time.process_time() - began_s < 2


def test_a_server_that_tells_reasoning_apart_is_taken_at_its_word() -> None:
    """S18: reasoning_content and content interleaved."""
    events, _ = openai(
        sse(
            delta(reasoning_content="hm"),
            delta(content="<think>a"),
            delta(reasoning_content="m"),
            delta(content="</think>b"),
        )
        + DONE
    )
    assert (reasoning(events), text(events)) == ("hmm", "<think>a</think>b")


def test_empty_reasoning_fields_say_nothing() -> None:
    """SGLang sends the field as null also where no parser is on."""
    chunks = [delta(content=piece, reasoning_content=None) for piece in ("<th", "ink>hm</think>", "a")]
    events, _ = openai(sse(*chunks) + DONE)
    assert (reasoning(events), text(events)) == ("hm", "a")


def test_tags_are_told_apart_in_ollamas_dialect_and_in_whole_answers() -> None:
    lines = b"".join(
        b'{"message":{"content":"%b"}}\n' % piece for piece in (b"<think>h", b"m</thi", b"nk>\\na")
    )
    events, _ = ollama(lines + b'{"done":true}\n')
    assert (reasoning(events), text(events)) == ("hm", "a")
    whole = b'{"choices":[{"message":{"content":"<think>hm</think>a"}}]}'
    events, _ = openai(whole)
    assert (reasoning(events), text(events)) == ("hm", "a")


@pytest.mark.parametrize(
    "ending",
    [b"", DONE, sse({"error": "boom"}), sse(delta(tool_calls=[{"index": 0, "function": {"name": "f"}}]))],
    ids=["cut", "done", "error", "tool call"],
)
def test_what_was_held_back_comes_before_whatever_ends_it(ending: bytes) -> None:
    events, _ = openai(sse(delta(content="a <thi")) + ending)
    assert events[:2] == [TextDelta(1, "a "), TextDelta(1, "<thi")]
