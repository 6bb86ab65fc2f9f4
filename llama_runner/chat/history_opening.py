"""Opening the file of kept conversations: whole, ours and of a version we know, or put aside and replaced.

Nothing is ever deleted: a file that cannot be used is renamed, and the newest good copy takes its place.
"""

import contextlib
import logging
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from llama_runner.chat.history_schema import APPLICATION_ID, MIGRATIONS, is_empty, lacks, migrate
from llama_runner.core.backups import backups_of, make_folder
from llama_runner.core.clock import Clock
from llama_runner.core.errors import StorageError
from llama_runner.core.files import PRIVATE_FILE_MODE
from llama_runner.system.locks import FileLock

log = logging.getLogger(__name__)

# B4: how long another program that writes is waited for.
BUSY_S: Final = 5.0
_LOCK_STEP_S: Final = 0.05
# Reading every page of a file takes a moment: of a small one always, of a large one after a crash.
ALWAYS_CHECKED_BYTES: Final = 32 * 1024 * 1024
BACKUP_EVERY: Final = timedelta(days=1)
BACKUPS_KEPT: Final = 3
# Safety 3.4: what others on this machine need is not filled up by copies.
MIN_FREE_BYTES: Final = 100 * 1024 * 1024
_BROKEN: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

Connect = Callable[..., sqlite3.Connection]


class DamagedError(Exception):
    """The file is not what it should be; the text completes "because …"."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An open file.

    Attributes:
        notes: What a person has to be told of the opening, a sentence or two each.
        read_only: Why nothing can be written; empty when it can.
    """

    connection: sqlite3.Connection
    notes: tuple[str, ...] = ()
    read_only: str = ""


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is broken, and not merely busy or without room."""
    # The extended codes (CORRUPT_INDEX, ...) have the plain one in their low byte.
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in _BROKEN


class HistoryFile:
    """The file of one home.

    Args:
        lock: Held while the file is looked at, so that no two programs put it aside at once.
        connect: `sqlite3.connect`; a test lets the n-th statement fail.
        migrations: The steps of the schema.
    """

    def __init__(
        self,
        path: Path,
        lock: Path,
        clock: Clock,
        *,
        connect: Connect = sqlite3.connect,
        migrations: Sequence[str] = MIGRATIONS,
        busy_s: float = BUSY_S,
    ) -> None:
        self.path = path
        self._lock = lock
        self._clock = clock
        self._connect = connect
        self._migrations = migrations
        self._busy_s = busy_s

    def open(self) -> Opened:
        """The file, made when there is none, replaced when it is unusable. Blocks; raises StorageError."""
        try:
            with self._alone():
                opened = self._open()
            return opened if opened.read_only else self._copied(opened)
        except sqlite3.Error as error:
            raise self._told(error) from error
        except OSError as error:
            raise StorageError(
                f"The kept conversations cannot be opened: {error.strerror or error}.",
                f"Check the folder {self.path.parent}.",
            ) from error

    def _told(self, error: sqlite3.Error) -> StorageError:
        return StorageError(
            f"The kept conversations cannot be opened: {error}.",
            "Another program may be using them; try again in a moment.",
        )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock = FileLock(self._lock)
        left_s = self._busy_s
        while not lock.acquire():
            if left_s <= 0:
                raise StorageError(
                    "Another program is looking after the kept conversations.", "Try again in a moment."
                )
            threading.Event().wait(_LOCK_STEP_S)
            left_s -= _LOCK_STEP_S
        with lock:
            yield

    def _open(self) -> Opened:
        notes: list[str] = []
        spare = list(backups_of(self.path))
        while True:
            try:
                opened = self._try()
            except DamagedError as damage:
                notes.append(self._replace(str(damage), spare))
            else:
                return Opened(opened.connection, tuple(notes), opened.read_only)

    def put_aside(self, why: str) -> str:
        """Rename a file that broke while it was open, and say so; the next opening restores a copy."""
        with self._alone():
            return self._replace(why, list(backups_of(self.path)))

    def _replace(self, why: str, spare: list[Path]) -> str:
        """Put the file aside and the newest copy not tried yet in its place; what a person is told."""
        aside = self._quarantine()
        log.warning("history put aside file=%s reason=%s", aside.name, why)
        said = f"The kept conversations could not be used, because {why}. The file is now {aside.name}."
        if not spare:
            return f"{said} There was no copy of it: an empty one was begun."
        backup = spare.pop(0)
        temporary = self.path.with_name(f".{self.path.name}.restored")
        shutil.copyfile(backup, temporary)
        temporary.chmod(PRIVATE_FILE_MODE)
        os.replace(temporary, self.path)
        return f"{said} What stands there now is the copy {backup.name}."

    def _quarantine(self) -> Path:
        aside = self.path.with_name(
            f"{self.path.stem}.corrupt-{self._clock.utc():%Y%m%dT%H%M%S%f}Z{self.path.suffix}"
        )
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.replace(f"{self.path}{suffix}", f"{aside}{suffix}")
        return aside

    def _try(self) -> Opened:
        """Open what is there. Raises DamagedError, and sqlite3.Error when it is merely busy."""
        unclean = self._look()
        connection = self._connect(self.path, timeout=self._busy_s, isolation_level=None)
        try:
            return Opened(connection, read_only=self._prepare(connection, unclean))
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.Error) and is_damage(error):
                raise DamagedError("it is damaged") from error
            raise

    def _look(self) -> bool:
        """Make the file when there is none; whether it was left without being closed."""
        # Before the file: who closes it last takes this away, and only when the file has all that is in it.
        wal_bytes = _size(Path(f"{self.path}-wal"))
        if not os.path.lexists(self.path):
            if wal_bytes is not None:
                raise DamagedError("only a part of it is there")
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, PRIVATE_FILE_MODE))
            return False
        if not self.path.is_file():
            raise DamagedError("it is not a file")
        if wal_bytes is None and not self.path.stat().st_size:
            # To SQLite a good file without tables; ours never is, once it was closed.
            raise DamagedError("it is empty")
        return bool(wal_bytes)

    def _prepare(self, connection: sqlite3.Connection, unclean: bool) -> str:
        """Check it, bring it up to date; why it may only be read."""
        set_up(connection)
        version = self._version(connection)
        newest = len(self._migrations)
        if version > newest:
            connection.execute("PRAGMA query_only = ON")
            return "The kept conversations were written by a newer version of this program."
        if version < newest:
            if version:
                self.back_up(connection)
            migrate(connection, version, self._migrations)
        if missing := lacks(connection):
            raise DamagedError(f"a part of it is missing ({missing})")
        if (unclean or self.path.stat().st_size <= ALWAYS_CHECKED_BYTES) and not _is_sound(connection):
            raise DamagedError("it is damaged")
        return ""

    def _version(self, connection: sqlite3.Connection) -> int:
        """The file's version. Raises DamagedError for a file of another program."""
        whose = connection.execute("PRAGMA application_id").fetchone()[0]
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if whose == 0 and version == 0 and is_empty(connection):
            return 0
        if whose != APPLICATION_ID:
            raise DamagedError("it is a file of another program")
        if version < 0:
            raise DamagedError("its version makes no sense")
        return version

    # --- copies --------------------------------------------------------------------------------------------

    def _copied(self, opened: Opened) -> Opened:
        """Copy it when that is due, which also reads every page of it; no other program waits meanwhile."""
        try:
            self._back_up_when_due(opened.connection)
        except DamagedError as damage:
            opened.connection.close()
            with self._alone():
                told = self._replace(str(damage), list(backups_of(self.path)))
                again = self._open()
            return Opened(again.connection, (*opened.notes, told, *again.notes), again.read_only)
        except (StorageError, sqlite3.Error, OSError) as error:
            # Nothing is lost by it.
            log.warning("history not copied error=%s", error)
        return opened

    def _back_up_when_due(self, connection: sqlite3.Connection) -> None:
        """Raises DamagedError, StorageError, sqlite3.Error, OSError."""
        if connection.execute("SELECT 1 FROM conversations LIMIT 1").fetchone() is None:
            return
        newest = next(iter(backups_of(self.path)), None)
        if newest is not None and self._age(newest) < BACKUP_EVERY:
            return
        size = self.path.stat().st_size
        if shutil.disk_usage(self.path.parent).free < 2 * size + MIN_FREE_BYTES:
            log.warning("history not copied, too little room bytes=%d", size)
            return
        self.back_up(connection)

    def _age(self, backup: Path) -> timedelta:
        modified = datetime.fromtimestamp(backup.stat().st_mtime, UTC)
        # One from the future is as good as none.
        age = self._clock.utc() - modified
        return age if age >= timedelta(0) else BACKUP_EVERY

    def back_up(self, connection: sqlite3.Connection) -> Path:
        """Copy it whole while it is open. Raises DamagedError when it is not sound, else StorageError."""
        folder = self.path.parent / "backups"
        make_folder(folder)
        copy = folder / f"{self.path.stem}-{self._clock.utc():%Y%m%dT%H%M%S%f}Z{self.path.suffix}"
        temporary = copy.with_name(f".{copy.name}")
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, PRIVATE_FILE_MODE))
        try:
            with closing(sqlite3.connect(temporary, isolation_level=None)) as target:
                connection.backup(target)
                # The copy is one file, whatever the original was.
                target.execute("PRAGMA journal_mode = DELETE")
                if not _is_sound(target):
                    if _is_sound(connection):
                        raise StorageError("The copy of the kept conversations is broken.", "Check the disk.")
                    raise DamagedError("it is damaged")
            os.replace(temporary, copy)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        for old in backups_of(self.path)[BACKUPS_KEPT:]:
            # Held open by a scanner, perhaps; the next copy tries again.
            with contextlib.suppress(OSError):
                old.unlink()
        return copy


def set_up(connection: sqlite3.Connection) -> None:
    """How a connection of ours works (safety 3.4)."""
    # Texts of a file that was tampered with are still to be read.
    connection.text_factory = lambda data: data.decode("utf-8", errors="replace")
    # Nothing that a foreign schema brings along is run.
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA foreign_keys = ON")
    # An answer that was said to be kept survives a power cut.
    connection.execute("PRAGMA synchronous = FULL")
    # What was deleted is not left in the file.
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA journal_mode = WAL")


def _size(path: Path) -> int | None:
    """None where there is no such file; another program may take it away at any moment."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _is_sound(connection: sqlite3.Connection) -> bool:
    try:
        return [row[0] for row in connection.execute("PRAGMA quick_check(1)")] == ["ok"]
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            return False
        raise
