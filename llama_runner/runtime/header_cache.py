"""Headers of model files remembered by path, size and time of change: looking again costs one `stat` a file.

Kept on disk between runs. One that is not understood is begun anew: everything in it can be read again.
"""

import logging
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from llama_runner.core.errors import ModelFileError, StorageError
from llama_runner.core.files import read_bounded, write_atomic
from llama_runner.runtime.gguf import GgufHeader, read_gguf

log = logging.getLogger(__name__)

# Some 700 bytes a file.
MAX_BYTES: Final = 32 * 1024 * 1024
MAX_KEPT: Final = 20_000
# Counts up when the reader finds more, or anything else, in a header.
FILE_VERSION: Final = 3


@dataclass(frozen=True, slots=True)
class KnownFile:
    """What was read of one file when it looked like this.

    Attributes:
        header: None for a file that no engine would load; `problem` and `hint` then say why.
        earlier_template_sha256: Of another chat template that the same path had before.
    """

    size_bytes: int
    modified_ns: int
    header: GgufHeader | None
    problem: str = ""
    hint: str = ""
    earlier_template_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class _File:
    version: int
    files: dict[str, KnownFile]


@dataclass(frozen=True, slots=True)
class _AnyVersion:
    version: int


@dataclass(frozen=True, slots=True)
class _OtherHeader:
    chat_template_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class _OtherFile:
    header: _OtherHeader | None = None


@dataclass(frozen=True, slots=True)
class _OtherVersion:
    files: dict[str, _OtherFile]


_ADAPTER: Final = TypeAdapter(_File)
_VERSION: Final = TypeAdapter(_AnyVersion)
_OTHERS: Final = TypeAdapter(_OtherVersion)
# The size and time of no file.
_NEVER: Final = -1


class HeaderCache:
    """Reads each header once. Blocking; any thread may use it.

    Args:
        path: Where it is kept; None keeps it in memory only.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known: dict[str, KnownFile] | None = None
        self._changed = False
        self._lock = threading.Lock()

    def read(self, path: Path) -> GgufHeader:
        """As `read_gguf`; a file that is no model is remembered as well."""
        known = self._current(path) or self._read(path)
        if known.header is None:
            raise ModelFileError(known.problem, known.hint)
        return known.header

    def knows(self, path: Path) -> bool:
        """Whether `read` would answer without opening the file."""
        return self._current(path) is not None

    def template_changed(self, path: Path) -> bool:
        """Whether the file's chat template is another one than the file had before (G14)."""
        known = self._current(path)
        if known is None or known.header is None:
            return False
        return known.earlier_template_sha256 not in (None, _template(known))

    def save(self) -> None:
        """Write it down when anything was learned since the last time."""
        if self._path is None:
            return
        with self._lock:
            if not self._changed:
                return
            self._changed = False
            files = dict(self._loaded())
        try:
            write_atomic(self._path, _ADAPTER.dump_json(_File(FILE_VERSION, files)))
        except StorageError as error:
            log.warning("model headers not saved reason=%s", error)

    def _current(self, path: Path) -> KnownFile | None:
        """What is known of the file as it is now."""
        try:
            status = path.stat()
        except OSError:
            return None
        with self._lock:
            known = self._loaded().get(str(path))
        same = known and (known.size_bytes, known.modified_ns) == (status.st_size, status.st_mtime_ns)
        return known if same else None

    def _read(self, path: Path) -> KnownFile:
        try:
            # Before reading: a change meanwhile is seen the next time.
            status = path.stat()
        except OSError:
            status = None
        known = _examine(path, status.st_size if status else 0, status.st_mtime_ns if status else 0)
        with self._lock:
            self._remember(str(path), known)
        return known

    def _remember(self, name: str, known: KnownFile) -> None:
        try:
            name.encode()
        except UnicodeEncodeError:
            # A name that is no text cannot be written down.
            return
        files = self._loaded()
        before = files.pop(name, None)
        files[name] = _with_earlier_template(known, before)
        while len(files) > MAX_KEPT:
            del files[next(iter(files))]
        self._changed = True

    def _loaded(self) -> dict[str, KnownFile]:
        if self._known is None:
            self._known = _load(self._path) if self._path is not None else {}
        return self._known


def _examine(path: Path, size_bytes: int, modified_ns: int) -> KnownFile:
    """Raises ModelFileError for what may be otherwise the next time: missing, or not to be read."""
    try:
        return KnownFile(size_bytes, modified_ns, read_gguf(path))
    except ModelFileError as error:
        if isinstance(error.__cause__, OSError):
            raise
        return KnownFile(size_bytes, modified_ns, None, error.message, error.hint)


def _with_earlier_template(known: KnownFile, before: KnownFile | None) -> KnownFile:
    if before is None:
        return known
    now, was = _template(known), _template(before)
    earlier = was if was not in (None, now) else before.earlier_template_sha256
    return replace(known, earlier_template_sha256=earlier)


def _template(known: KnownFile) -> str | None:
    return known.header.chat_template_sha256 if known.header else None


def _load(path: Path) -> dict[str, KnownFile]:
    try:
        data = read_bounded(path, max_bytes=MAX_BYTES)
    except StorageError as error:
        log.warning("model headers not read reason=%s", error)
        return {}
    if data is None:
        return {}
    try:
        version = _VERSION.validate_json(data).version
        return dict(_ADAPTER.validate_json(data).files) if version == FILE_VERSION else _templates(data)
    except ValidationError as error:
        log.warning("model headers not understood errors=%d", error.error_count())
        return {}


def _templates(data: bytes) -> dict[str, KnownFile]:
    """Of what another version read only the templates count: a changed one is told across versions too."""
    return {
        name: KnownFile(_NEVER, _NEVER, None, earlier_template_sha256=file.header.chat_template_sha256)
        for name, file in _OTHERS.validate_json(data).files.items()
        if file.header is not None
    }
