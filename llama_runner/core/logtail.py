"""Whole lines from the end of a log file that grows, and is put aside now and then."""

from pathlib import Path
from typing import Final

from llama_runner.core.paths import Home

# The end of a log that is searched for the wanted lines; a rotated file is not much longer.
TAIL_BYTES: Final = 4 * 1024 * 1024


def program_log(home: Home) -> Path:
    """The log that every program of `home` writes."""
    return home.logs_dir / "llama-runner.log"


def model_log(home: Home, model_id: str) -> Path:
    """What a model's engines wrote, this time and before; `model_id` as the models' list spells it."""
    return home.logs_dir / f"model-{model_id}.log"


def lines_after(path: Path, position: int | None) -> tuple[list[str], int]:
    """The lines behind byte `position`, and where to go on: a last line that is not finished waits.

    Args:
        position: From an earlier call; None for the last `TAIL_BYTES` of the file. Beyond the end of the
            file, which is then another one, everything is new.

    Raises:
        OSError: The file cannot be read; none at all has no lines.
    """
    try:
        # Not held open: Windows could not rotate it.
        with path.open("rb") as file:
            size = file.seek(0, 2)
            start = max(0, size - TAIL_BYTES) if position is None else position
            start = 0 if start > size else start
            file.seek(start)
            data = file.read(TAIL_BYTES)
    except FileNotFoundError:
        return [], 0
    whole = data.rfind(b"\n") + 1
    lines = data[:whole].decode("utf-8", errors="replace").splitlines()
    # A start in the middle is a start in the middle of a line.
    return lines[1:] if position is None and start > 0 else lines, start + whole


class LogTail:
    """Reads on where it stopped reading. Raises OSError when the file cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position: int | None = None

    def read(self) -> list[str]:
        """What was added since the last call; at first the end of the file."""
        lines, self._position = lines_after(self._path, self._position)
        return lines
