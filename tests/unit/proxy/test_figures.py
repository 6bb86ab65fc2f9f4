"""What the end of an answer says, in each dialect; and what it means for the context."""

import json
from typing import Any

import pytest

from llama_runner.proxy.figures import CONTEXT_FULL, PROMPT_CUT, Figures, figures, prompt_words, warning_of

OPENAI = b"""data: {"choices":[{"delta":{},"finish_reason":"length"}]}

data: {"choices":[],"usage":{"completion_tokens":7,"prompt_tokens":41,"total_tokens":48}}

data: [DONE]

"""
LLAMA = b"""{"choices":[{"finish_reason":"stop"}],"timings":{"cache_n":30,"prompt_n":11,"prompt_ms":50.5,
"prompt_per_token_ms":4.6,"predicted_n":7,"predicted_ms":70.25,"predicted_per_second":99.6}}"""
OLLAMA = b"""{"message":{"content":""},"done":true,"done_reason":"stop","prompt_eval_count":41,"eval_count":7,
"prompt_eval_duration":50500000,"eval_duration":70250000}"""
ANTHROPIC = (
    b"""data: {"type":"message_delta","delta":{"stop_reason":"max_tokens"},"usage":{"output_tokens":7}}"""
)


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        (OPENAI, Figures(41, 7, at_length=True)),
        (LLAMA, Figures(41, 7, 0.0505, 0.07025)),
        (OLLAMA, Figures(41, 7, 0.0505, 0.07025)),
        (ANTHROPIC, Figures(None, 7, at_length=True)),
        (
            b'{"usage":{"input_tokens":11,"cache_read_input_tokens":900,"cache_creation_input_tokens":0,'
            b'"output_tokens":7}}',
            Figures(911, 7),
        ),
        (b'{"content":"x","truncated":true,"stop_type":"limit"}', Figures(at_length=True, truncated=True)),
        (b"", Figures()),
    ],
)
def test_the_end_of_an_answer_tells_its_figures(tail: bytes, expected: Figures) -> None:
    assert figures(b"x" * 100_000 + tail) == expected


def test_a_models_own_words_are_no_figures() -> None:
    text = 'it said "prompt_tokens": 5, "truncated": true and "finish_reason": "length"'
    event = b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode()
    assert figures(event) == Figures()


def asked(words: int, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "word " * words}], **more}


def test_a_prompt_with_more_words_than_tokens_was_cut() -> None:
    assert warning_of(Figures(100, 1), asked(400), None) == PROMPT_CUT
    assert warning_of(Figures(400, 1), asked(400), None) is None
    # Few words, or none counted: nothing is known.
    assert warning_of(Figures(1, 1), asked(20), None) is None
    assert warning_of(Figures(None, 1), asked(400), None) is None


def test_an_answer_that_ended_where_the_context_does_is_told() -> None:
    full = Figures(200, 56, at_length=True)
    assert warning_of(full, {}, 256) == CONTEXT_FULL
    assert warning_of(full, {}, 4096) is None
    assert warning_of(Figures(200, 56), {}, 256) is None


def test_words_are_counted_in_every_place_a_text_can_stand() -> None:
    parts = [{"type": "text", "text": "one two"}, {"type": "image_url", "image_url": {"url": "data:a b"}}]
    messages: Any = [{"role": "user", "content": parts}, {"role": "system", "content": "three"}, "no message"]
    assert prompt_words({"messages": messages, "prompt": "four five", "system": "six"}) == 6
    assert prompt_words({"messages": "no list"}) == 0
