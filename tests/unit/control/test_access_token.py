"""The access token: made once, kept as a hash only (R1.6, R9)."""

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from llama_runner.control.access_token import (
    MIN_CHARS,
    forget_token,
    kept_hash,
    kept_token,
    make_token,
    read_token_file,
    token_path,
)
from llama_runner.core.errors import ConfigError, UsageError
from llama_runner.core.paths import Home, create_folders, home_at
from llama_runner.net.credentials import fits, hash_token

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def place(tmp_path: Path) -> Home:
    home = home_at(tmp_path / "h")
    create_folders(home)
    return home


def test_a_token_is_known_by_its_hash_and_by_nothing_else(place: Home) -> None:
    token = make_token(place, NOW)
    assert len(token) > 40 and token.startswith("lr-")
    wanted = kept_hash(place)
    assert wanted == hash_token(token)
    assert fits(token, wanted) and not fits(token + "x", wanted) and not fits("", wanted)
    assert token[4:] not in token_path(place).read_text()
    assert stat.S_IMODE(token_path(place).stat().st_mode) == 0o600
    kept = kept_token(place)
    assert kept is not None and kept.made_utc == "2026-01-02T03:04:05+00:00"


def test_a_new_one_takes_the_place_of_the_one_before(place: Home) -> None:
    first, second = make_token(place, NOW), make_token(place, NOW)
    wanted = kept_hash(place)
    assert wanted is not None and fits(second, wanted) and not fits(first, wanted)


def test_a_forgotten_one_lets_nobody_in(place: Home) -> None:
    assert not forget_token(place)
    make_token(place, NOW)
    assert forget_token(place)
    assert (kept_hash(place), kept_token(place)) == (None, None)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        "x",
        '{"version":1,"sha256":"zz","made_utc":""}',
        '{"version":1,"sha256":"","made_utc":""}',
    ],
)
def test_a_file_that_is_not_understood_is_no_token(place: Home, content: str) -> None:
    token_path(place).write_text(content)
    assert kept_hash(place) is None


def test_a_token_file_holds_one_token_and_white_space(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"  {'a' * MIN_CHARS}\n")
    assert read_token_file(file) == "a" * MIN_CHARS


@pytest.mark.parametrize("content", [b"", b"tiny", b"\n\n", b"a" * (MIN_CHARS - 1), b"x" * 5000])
def test_a_token_that_can_be_guessed_or_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_token_file(file)
    assert caught.value.hint
    assert not content.strip() or content.decode() not in str(caught.value)


@pytest.mark.parametrize("content", [b"two words that are long enough", b"\xff" * 40, b"a" * 30 + b"\nb"])
def test_what_no_header_can_carry_is_refused_and_not_quoted(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_token_file(file)
    assert "words" not in str(caught.value)


def test_a_missing_token_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not there"):
        read_token_file(tmp_path / "nothing")
