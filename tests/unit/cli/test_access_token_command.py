"""`access-token`, and what `serve` says about tokens before it starts."""

import re
from pathlib import Path

import pytest

from llama_runner.core.errors import ExitCode
from tests.unit.cli.test_config_command import document, run_command


def test_a_token_is_printed_once_and_never_again(home: Path) -> None:
    assert document("access-token", "show") == {"set": False, "made_utc": None}
    token = document("access-token", "new")["token"]
    shown = document("access-token", "show")
    assert shown["set"] and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", shown["made_utc"])
    assert token not in "".join(run_command("access-token", "show")[1:])
    assert document("access-token", "remove") == {"removed": True}
    assert document("access-token", "remove") == {"removed": False}
    written = [path.read_text() for path in home.rglob("*") if path.is_file()]
    assert not [text for text in written if token in text]


def test_only_the_token_goes_to_standard_output(home: Path) -> None:
    code, stdout, stderr = run_command("access-token", "new")
    assert code == ExitCode.DONE
    assert re.fullmatch(r"lr-[\w-]{40,}\n", stdout)
    assert "cannot be shown again" in stderr


@pytest.mark.parametrize("argument", ["--openai", "--ollama"])
@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.168.1.5", "myhost"])
def test_i8_c6_serve_ends_before_it_listens_for_others_without_a_token(
    home: Path, argument: str, host: str
) -> None:
    code, stdout, stderr = run_command("serve", argument, f"{host}:0")
    assert (code, stdout) == (ExitCode.USAGE, "")
    assert "The proxy is not opened on" in stderr


def test_serve_wants_a_token_file_that_is_one(home: Path) -> None:
    (home / "token").write_text("short")
    for path, said in ((home / "nothing", "is not there"), (home / "token", "too short")):
        code, _, stderr = run_command("serve", "--token-file", str(path))
        assert code == ExitCode.USAGE
        assert said in stderr and "short\n" not in stderr
