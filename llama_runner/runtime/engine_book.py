"""Which engines were run: checksum and version of each on disk, what has changed since, what is too old (R7).

The checksum is that of the program; what it loads from the libraries beside it is not in it.
"""

import hashlib
import logging
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from llama_runner.core.errors import StorageError
from llama_runner.core.files import read_bounded, write_atomic
from llama_runner.core.jsonio import dump_json
from llama_runner.core.paths import Home
from llama_runner.runtime.engine import EngineInfo

log = logging.getLogger(__name__)

FILE_VERSION: Final = 1
MAX_BYTES: Final = 256 * 1024
# A person has a handful; one that builds anew every day has a path that stays.
MAX_KEPT: Final = 100
# Below it a model file can write beyond what it is given and so run what it likes (CVE-2026-27940).
SAFE_BUILD: Final = 8146
# "6123 (abcdef12)": builds that count. Later ones begin with a version of their own, as "0.6.0-dev (…)".
_COUNTED_BUILD: Final = re.compile(r"(\d+) \(")
# What a build from a copy without history counts: it says nothing of its age.
_NO_HISTORY: Final = 1


@dataclass(frozen=True, slots=True)
class Used:
    """One engine as it was when it was last run."""

    sha256: str
    version: str | None


@dataclass(frozen=True, slots=True)
class _File:
    version: int
    engines: dict[str, Used]


_ADAPTER: Final = TypeAdapter(_File)


class EngineBook:
    """Reads and writes `<data>/engines.json`. A file that is not understood is begun anew. Blocking."""

    def __init__(self, home: Home) -> None:
        self._path = home.data_dir / "engines.json"
        self._looked: set[tuple[Path, int, int]] = set()

    def look(self, engine: EngineInfo) -> str | None:
        """Note an engine that is about to be run, and say what a person should know of it.

        Reads the whole program once per run of ours and change of the file.
        """
        try:
            status = engine.path.stat()
            key = (engine.path, status.st_mtime_ns, status.st_size)
            if key in self._looked:
                return None
            self._looked.add(key)
            with engine.path.open("rb") as file:
                now = Used(hashlib.file_digest(file, "sha256").hexdigest(), engine.version)
        except OSError as error:
            log.warning("engine not noted path=%s reason=%s", engine.path, error.strerror)
            return None
        known = self._read()
        before = known.pop(str(engine.path), None)
        self._write(dict([*known.items(), (str(engine.path), now)][-MAX_KEPT:]))
        told = (changed(engine.path, before, now), too_old(engine.path, engine.version))
        return " ".join(sentence for sentence in told if sentence) or None

    def _read(self) -> dict[str, Used]:
        try:
            data = read_bounded(self._path, max_bytes=MAX_BYTES)
            return dict(_ADAPTER.validate_json(data).engines) if data is not None else {}
        except (StorageError, ValidationError) as error:
            log.warning("engines used before not known reason=%s", type(error).__name__)
            return {}

    def _write(self, known: dict[str, Used]) -> None:
        content = {path: asdict(used) for path, used in known.items()}
        try:
            write_atomic(self._path, dump_json({"version": FILE_VERSION, "engines": dict(content)}, indent=2))
        except StorageError as error:
            log.warning("engine not noted reason=%s", error)


def changed(path: Path, before: Used | None, now: Used) -> str | None:
    """What to say of a program that is not the one that was run last time."""
    if before is None or before.sha256 == now.sha256:
        return None
    if before.version == now.version:
        return (
            f"{path} was replaced since it was last used, and calls itself the same version"
            f" ({now.version or 'none'}): if you did not do that, find out who did."
        )
    then = before.version or "no version"
    return f"{path} was replaced since it was last used: {then} then, {now.version or 'none'} now."


def too_old(path: Path, version: str | None) -> str | None:
    """What to say of a build with a known hole; a version that does not tell its age is not judged."""
    found = _COUNTED_BUILD.match(version or "")
    build = int(found[1]) if found else None
    if build is None or build <= _NO_HISTORY or build >= SAFE_BUILD:
        return None
    return (
        f"{path} is build {build}: before {SAFE_BUILD} a prepared model file could take over the program."
        " Use a newer one."
    )
