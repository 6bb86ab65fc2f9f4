"""`models`: the list and one model's card, for people and as JSON, without a service."""

from pathlib import Path

import pytest

from llama_runner.core.errors import ExitCode
from tests.fakes.gguf_files import STRING, U32, good_file, header, key
from tests.unit.cli.test_serving_commands import document, run_command


@pytest.fixture
def models(home: Path) -> Path:
    folder = home / "data" / "models"
    for number in (1, 2):
        path = folder / "big" / f"big-{number:05d}-of-00002.gguf"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            good_file(
                key("split.count", U32, 2),
                key("general.license", STRING, "mit"),
                key("tokenizer.chat_template", STRING, "{% if tools %}"),
            )
        )
    (folder / "big" / "mmproj-F16.gguf").write_bytes(header([key("general.architecture", STRING, "clip")]))
    lora = [key("general.type", STRING, "adapter"), key("general.architecture", STRING, "llama")]
    (folder / "big" / "style.gguf").write_bytes(header(lora))
    return folder


def test_the_card_of_a_model_as_json(models: Path) -> None:
    card = document("models", "--model", "big")
    assert (card["id"], card["parts"], card["license"]) == ("big", 2, "mit")
    assert card["capabilities"] == ["completion", "tools", "vision"]
    assert card["projector"] == str(models / "big" / "mmproj-F16.gguf")
    assert [one["name"] for one in card["adapters"]] == ["style.gguf"]
    assert card["fit"] == "fits"
    assert 0 < card["need_bytes"] < card["room_bytes"]


def test_the_card_of_a_model_in_words(models: Path) -> None:
    _, stdout, _ = run_command("models", "--model", "big")
    title, *lines = stdout.splitlines()
    facts = dict(line.split(maxsplit=1) for line in lines)
    assert title == "big"
    assert facts["license"] == "mit"
    assert facts["can"] == "completion, tools, vision"
    assert facts["size"].endswith("in 2 files")
    assert facts["fit"].startswith("fits: needs ")
    assert facts["projector"].endswith("mmproj-F16.gguf")
    assert facts["adapter"].endswith("style.gguf")


def test_g14_a_changed_template_is_told(models: Path) -> None:
    path = models / "one.gguf"
    path.write_bytes(good_file(key("tokenizer.chat_template", STRING, "first")))
    assert not document("models", "--model", "one")["template_changed"]
    path.write_bytes(good_file(key("tokenizer.chat_template", STRING, "another one")))
    assert document("models", "--model", "one")["template_changed"]
    _, stdout, _ = run_command("models", "--model", "one")
    assert "another one than this file had before" in stdout


def test_the_card_of_a_broken_model_says_what_is_wrong(models: Path) -> None:
    (models / "bad.gguf").write_bytes(b"<html>404")
    _, stdout, _ = run_command("models", "--model", "bad")
    assert "a web page" in stdout


def test_a_name_that_comes_close_is_suggested(models: Path) -> None:
    error = document("models", "--model", "bigg", code=ExitCode.FAILED)["error"]
    assert error["kind"] == "not_found"
    assert "big" in error["hint"]


def test_a_key_goes_with_a_server_only(models: Path) -> None:
    error = document("models", "--api-key-file", "x", code=ExitCode.USAGE)["error"]
    assert "--server" in error["hint"]
