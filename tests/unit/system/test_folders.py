"""Opening a folder, with an opener of our own in the place of the desktop's."""

import sys
from pathlib import Path

import pytest

from llama_runner.core.errors import LlamaRunnerError
from llama_runner.system.folders import open_folder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the opener's name is that of Linux desktops")


def _install_opener(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opener = folder / "xdg-open"
    opener.write_text(f"#!/bin/sh\n{script}\n")
    opener.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_the_folder_is_handed_to_the_desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install_opener(tmp_path, f'printf %s "$1" > {tmp_path}/seen', monkeypatch)

    open_folder(tmp_path / "a b")

    assert (tmp_path / "seen").read_text() == str(tmp_path / "a b")


@pytest.mark.parametrize("script", ["exit 3", None])
def test_without_a_file_manager_the_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None
) -> None:
    if script is None:
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        _install_opener(tmp_path, script, monkeypatch)

    with pytest.raises(LlamaRunnerError, match=str(tmp_path)):
        open_folder(tmp_path)
