"""Children that outlived a service that was killed: marked at birth, found by the next service and ended.

The second guard behind the system's own (docs/adr/0007): it also reaches what a wrapper script started.
"""

import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from llama_runner.core.errors import StorageError
from llama_runner.core.files import read_bounded, write_atomic
from llama_runner.core.jsonio import dump_json
from llama_runner.core.paths import Home
from llama_runner.system.orphans import end_marked

log = logging.getLogger(__name__)

VARIABLE: Final = "LLAMA_RUNNER_CHILD_OF"
FILE_VERSION: Final = 1
_MARK_BYTES: Final = 16
_MAX_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class _File:
    version: int
    mark: str


_ADAPTER: Final = TypeAdapter(_File)


def record_path(home: Home) -> Path:
    """Where a service notes that it has, or had, children."""
    return home.run_dir / "children.json"


class LaunchMark:
    """What the children of one run carry in their environment, on disk for as long as there may be any."""

    def __init__(self, home: Home) -> None:
        self._path = record_path(home)
        self._mark = secrets.token_hex(_MARK_BYTES)
        self._noted = False

    def environment(self) -> Mapping[str, str]:
        """Variables for a child about to be started; the first call writes the mark down."""
        if not self._noted:
            self._noted = True
            try:
                write_atomic(self._path, dump_json({"version": FILE_VERSION, "mark": self._mark}, indent=2))
            except StorageError as error:
                # The system's own guard still ends the children with us.
                log.warning("children not noted reason=%s", error)
        return {VARIABLE: self._mark}

    def clear(self) -> None:
        """Every child is gone."""
        if self._noted:
            self._noted = False
            self._path.unlink(missing_ok=True)


def end_orphans(home: Home) -> int:
    """End what the last service of `home` left behind; returns how many processes. Blocks.

    Call it while holding the home's service lock: a service that still runs is not an earlier one.
    """
    path = record_path(home)
    try:
        data = read_bounded(path, max_bytes=_MAX_BYTES)
    except StorageError as error:
        log.warning("note of children not read reason=%s", error)
        return 0
    if data is None:
        return 0
    try:
        mark = _ADAPTER.validate_json(data).mark
    except ValidationError:
        log.warning("note of children not understood path=%s", path)
        mark = ""
    ended = end_marked(VARIABLE, mark) if mark else 0
    path.unlink(missing_ok=True)
    return ended
