"""Makes what is installed look as if it were not there, for this process's children."""

import os
from pathlib import Path

import pytest


def hide_package(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a package of that name without any file in front of the installed one: it is found first."""
    description = folder / f"{name.replace('-', '_')}-0.dist-info" / "METADATA"
    description.parent.mkdir(parents=True)
    description.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0\n")
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(folder), before))))


def hide_program(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the folders that hold a program of that name off PATH."""
    folders = os.environ.get("PATH", "").split(os.pathsep)
    monkeypatch.setenv("PATH", os.pathsep.join(f for f in folders if not (Path(f) / name).exists()))
