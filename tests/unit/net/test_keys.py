"""What counts as an API key."""

import pytest

from llama_runner.core.errors import UsageError
from llama_runner.net.keys import MAX_KEY_CHARS, parse_api_key


@pytest.mark.parametrize("typed", ["sk-abc", " sk-abc", "sk-abc\n", "\tsk-abc\r\n"])
def test_white_space_from_copying_does_not_belong_to_the_key(typed: str) -> None:
    assert parse_api_key(typed) == "sk-abc"


@pytest.mark.parametrize("typed", ["", " ", "\n"])
def test_nothing_is_no_key(typed: str) -> None:
    assert parse_api_key(typed) is None


@pytest.mark.parametrize(
    "typed", ["sk abc", "sk-a\nX-Evil: 1", "sk-ключ", "sk\x7f", "sk\0", "x" * (MAX_KEY_CHARS + 1)]
)
def test_what_no_header_can_carry_is_refused_without_being_quoted(typed: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_api_key(typed)
    assert typed not in str(refused.value)
