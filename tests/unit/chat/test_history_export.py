"""Kept conversations as texts to give away, and back again."""

from dataclasses import replace

import pytest

from llama_runner.backends.live import AnswerState
from llama_runner.backends.request import Role
from llama_runner.chat.history_export import EXPORTS
from llama_runner.chat.history_values import KeptConversation, KeptTurn
from llama_runner.chat.importing_formats import conversation_of
from llama_runner.chat.importing_parts import Remarks, Unusable
from llama_runner.core.jsonio import parse_json
from llama_runner.core.trace import RequestMetrics, TokensSource
from tests.unit.chat.kept import START, conversation

EVIL = "<script>alert(1)</script> & <img src=x onerror=y>"


def full() -> KeptConversation:
    question = KeptTurn(Role.USER, f"Look at this: {EVIL}", START, images=2)
    answer = KeptTurn(
        Role.ASSISTANT,
        "# No\n\n```js\nx\n```",
        START,
        reasoning="thinking ```` hard",
        state=AnswerState.TRUNCATED,
        error="It broke.",
        hint="Ask again.",
        label="m at box",
        model_id="m",
        metrics=RequestMetrics(ttft_s=0.5, output_tokens=3, tokens_source=TokensSource.CHUNKS),
    )
    return replace(conversation(1, "x"), title=f"A {EVIL}", turns=(question, answer), system_prompt=EVIL)


def test_our_json_brings_back_all_that_was_kept() -> None:
    text = EXPORTS["json"](full())
    back = conversation_of(parse_json(text.encode(), max_bytes=10**6), Remarks())

    assert back == replace(full(), imported=back.updated)


def test_a_web_page_shows_html_as_text_and_may_load_nothing() -> None:
    """C12: what a model or another program wrote stays text."""
    page = EXPORTS["html"](full())

    assert "<script" not in page.lower()
    assert "<img" not in page.lower()
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &lt;img" in page
    assert "default-src 'none'; style-src 'sha256-" in page


def test_markdown_has_everything_in_order() -> None:
    text = EXPORTS["md"](full())

    wanted = (
        "# A <",
        "## System prompt",
        "## You",
        "2 images",
        "## m at box",
        "<details>",
        "# No",
        "It broke.",
    )
    places = [text.index(part) for part in wanted]
    assert "\n`````\nthinking ```` hard\n`````\n" in text
    assert places == sorted(places)


@pytest.mark.parametrize("version", [2, None, "1"])
def test_an_export_of_a_newer_version_is_not_guessed_at(version: object) -> None:
    with pytest.raises(Unusable, match="newer version"):
        conversation_of({"format": "llama-runner-conversation", "version": version, "turns": []}, Remarks())  # type: ignore[dict-item]
