"""Where a command takes a server's key from."""

import argparse
from pathlib import Path

import pytest

from llama_runner.cli.api_key import KEY_VARIABLE, add_api_key_options, given_api_key, names_api_key
from llama_runner.core.errors import UsageError
from llama_runner.net.keys import MAX_KEY_CHARS, parse_api_key


@pytest.fixture(autouse=True)
def nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


def parsed(*arguments: str, text: object = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_api_key_options(parser)
    return parser.parse_args(list(arguments), namespace=argparse.Namespace(text=text))


async def test_without_an_option_the_environment_counts_and_an_empty_one_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await given_api_key(parsed()) is None
    monkeypatch.setenv(KEY_VARIABLE, "")
    assert await given_api_key(parsed()) is None
    monkeypatch.setenv(KEY_VARIABLE, "sk-env")
    assert await given_api_key(parsed()) == "sk-env"
    assert not names_api_key(parsed())


async def test_an_option_wins_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "sk-env")
    file = tmp_path / "key"
    file.write_text("sk-file\n", "utf-8")
    assert await given_api_key(parsed("--api-key", "sk-line")) == "sk-line"
    assert await given_api_key(parsed("--api-key-file", str(file))) == "sk-file\n"
    assert names_api_key(parsed("--api-key-file", str(file)))


async def test_two_keys_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        await given_api_key(parsed("--api-key", "a", "--api-key-file", "b"))


async def test_a_file_that_is_not_there_is_named_and_a_wrong_one_is_not_read_whole(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        await given_api_key(parsed("--api-key-file", str(tmp_path / "none")))
    big = tmp_path / "big"
    big.write_bytes(b"\xff" * 10_000_000)
    text = await given_api_key(parsed("--api-key-file", str(big)))
    assert text is not None
    assert len(text) < 2 * MAX_KEY_CHARS
    with pytest.raises(UsageError):
        parse_api_key(text)


@pytest.mark.parametrize("text", ["-", ["a", "-"]])
async def test_standard_input_is_not_both_the_text_and_the_key(text: object) -> None:
    with pytest.raises(UsageError, match="both"):
        await given_api_key(parsed("--api-key-file", "-", text=text))
