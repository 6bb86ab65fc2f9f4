"""What a record says in headers: names come from files and from other servers."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_runner import __version__
from llama_runner.proxy.figures import Figures
from llama_runner.proxy.records import MAX_RECORDS, RequestLog, RequestRecord, Tried


def record(model: str = "m", step: str | None = "local") -> RequestRecord:
    return RequestRecord(1, "/v1/chat/completions", model, datetime.now(UTC), step=step)


def test_an_ordinary_answer_says_who_gave_it() -> None:
    assert record("Qwen3-8B").answered_by() == f"{__version__}; model=Qwen3-8B; step=local"


def test_what_went_before_and_what_is_wrong_is_said_too() -> None:
    one = record("way", "10.0.0.1:11434")
    one.tried = (Tried("local", "It is gone."),)
    one.warning = "the prompt was cut"
    told = one.answered_by()
    assert told.endswith("; step=10.0.0.1:11434; attempts=2; warning=the prompt was cut")
    # Why is for the person's own eyes.
    assert "gone" not in told


@given(st.text(max_size=50), st.text(max_size=50))
def test_h22_no_name_ends_a_header_or_adds_to_it(model: str, step: str) -> None:
    told = record(
        model.encode(errors="replace").decode(), step.encode(errors="replace").decode()
    ).answered_by()
    assert all(0x20 <= ord(character) < 0x7F for character in told)
    assert told.count(";") <= 2


@pytest.mark.parametrize("figures", [Figures(), Figures(3, 4, 0.5, 1.5, at_length=True)])
def test_figures_are_taken_over(figures: Figures) -> None:
    one = record()
    one.note(figures)
    assert (one.prompt_tokens, one.output_tokens) == (figures.prompt_tokens, figures.output_tokens)
    assert (one.prefill_s, one.decode_s) == (figures.prefill_s, figures.decode_s)


def test_the_newest_are_kept() -> None:
    log = RequestLog()
    for _ in range(MAX_RECORDS + 5):
        log.begin("/", "m", datetime.now(UTC), streamed=False)
    assert (len(log.records), log.records[0].number) == (MAX_RECORDS, 6)
