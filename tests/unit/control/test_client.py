"""Errors of the service as errors here, and the command that starts it."""

from pathlib import Path

import pytest

from llama_runner.control.client import error_in
from llama_runner.control.launcher import service_command
from llama_runner.control.runfile import AlreadyRunningError
from llama_runner.core import errors
from llama_runner.core.paths import find_home, home_at


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("model_file", errors.ModelFileError),
        ("engine", errors.EngineError),
        ("port_in_use", errors.PortInUseError),
        ("configuration", errors.ConfigError),
        ("not_found", errors.NotFoundError),
        ("refused", errors.RefusedError),
        ("usage", errors.UsageError),
        ("already_running", AlreadyRunningError),
        ("of a newer version", errors.ServiceError),
    ],
)
def test_an_error_arrives_as_what_it_was(kind: str, expected: type[errors.LlamaRunnerError]) -> None:
    content = b'{"error": {"kind": "%s", "message": "What happened.", "hint": "What to do."}}' % kind.encode()
    error = error_in(content)
    assert type(error) is expected
    assert str(error) == "What happened. What to do."


@pytest.mark.parametrize(
    "content",
    [b"", b"Invalid HTTP request received.", b"[]", b"null", b'{"error": "x"}', b'{"error": {"kind": 1}}'],
)
def test_what_is_no_error_document_is_none(content: bytes) -> None:
    assert error_in(content) is None


def test_an_owned_service_is_started_for_the_same_home(tmp_path: Path) -> None:
    command = service_command(home_at(tmp_path), demo=True, keep_serving=True)
    assert command[command.index("--home") + 1] == str(tmp_path)
    assert {"--owned", "--json", "--demo", "--keep-serving"} <= set(command)


def test_a_home_spread_over_the_users_folders_is_found_again_by_the_environment() -> None:
    spread = find_home({"HOME": "/home/a"}, override=None, checkout=None, frozen=True, platform="linux")
    assert "--home" not in service_command(spread)
