"""Conversations to keep, and a file to keep them in."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from llama_runner.backends.request import Role
from llama_runner.chat.history_opening import HistoryFile, Opened
from llama_runner.chat.history_store import HistoryStore
from llama_runner.chat.history_values import KeptConversation, KeptTurn

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class FixedClock:
    """Wall time that a test moves."""

    def __init__(self) -> None:
        self.now = START

    def now_ns(self) -> int:
        return 0

    def utc(self) -> datetime:
        # Never the same twice: files are named after it.
        self.now += timedelta(microseconds=1)
        return self.now


def file_in(folder: Path, **more: object) -> HistoryFile:
    return HistoryFile(folder / "history.db", folder / "history.lock", FixedClock(), **more)  # type: ignore[arg-type]


@contextmanager
def opened(file: HistoryFile) -> Iterator[Opened]:
    found = file.open()
    with closing(found.connection):
        yield found


@contextmanager
def store_in(folder: Path) -> Iterator[HistoryStore]:
    with opened(file_in(folder)) as found:
        assert found.notes == ()
        yield HistoryStore(found.connection, found.read_only)


def talk(*texts: str, model: str = "m") -> tuple[KeptTurn, ...]:
    """Question, answer, question, ..."""
    return tuple(
        KeptTurn(Role.ASSISTANT, text, START, model_id=model, label=model)
        if number % 2
        else KeptTurn(Role.USER, text, START)
        for number, text in enumerate(texts)
    )


def conversation(number: int, *texts: str, updated: datetime | None = None) -> KeptConversation:
    at = updated or START + timedelta(minutes=number)
    return KeptConversation(f"{number:032x}", texts[0], START, at, talk(*texts))
