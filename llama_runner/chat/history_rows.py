"""Rows of the file as values and back; a file that others may have written is not believed (B5)."""

import dataclasses
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

from llama_runner.backends.live import AnswerState
from llama_runner.backends.request import Role
from llama_runner.chat.history_opening import DamagedError, is_damage
from llama_runner.chat.history_values import KeptTurn, Summary, from_ms, storable, to_ms
from llama_runner.core.errors import StorageError
from llama_runner.core.jsonio import INT_MAX, INT_MIN, JsonRejected, dump_json, parse_json
from llama_runner.core.trace import NO_METRICS, RequestMetrics, TokensSource

_METRICS_BYTES: Final = 4096
SUMMARY: Final = """
    SELECT c.id, c.title, c.created_ms, c.updated_ms, c.origin,
           (SELECT count(*) FROM messages m WHERE m.conversation = c.key),
           (SELECT m.model_id FROM messages m WHERE m.conversation = c.key AND m.model_id != ''
            ORDER BY m.position DESC LIMIT 1)
    FROM conversations c
"""
# Its two values: how much of each text is read.
TURN: Final = (
    "role, substr(text, 1, ?), substr(reasoning, 1, ?), at_ms, state, error, hint, finish_reason,"
    " label, model_id, images, metrics"
)


class IndexDamagedError(Exception):
    """Only the index of words does not fit the texts: it can be made anew."""


@contextmanager
def told() -> Iterator[None]:
    """SQLite's errors in our words."""
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_CORRUPT_VTAB:
            raise IndexDamagedError from error
        if is_damage(error):
            raise DamagedError("it is damaged") from error
        raise _storage_error(error) from error


def _storage_error(error: sqlite3.Error) -> StorageError:
    match (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF:
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            return StorageError(
                f"The conversation could not be kept: {error}.", "Make room on the disk; it is tried again."
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StorageError(
                "The kept conversations are in use by another program.", "Try again in a moment."
            )
        case _:
            return StorageError(
                f"The kept conversations could not be read or written: {error}.",
                "Check the disk and the permissions of the data folder.",
            )


def turn_values(turn: KeptTurn) -> tuple[object, ...]:
    """A turn in the order of the columns from `role` on."""
    return (
        str(turn.role),
        storable(turn.text),
        storable(turn.reasoning),
        None if turn.at is None else to_ms(turn.at),
        str(turn.state),
        storable(turn.error),
        storable(turn.hint),
        None if turn.finish_reason is None else storable(turn.finish_reason),
        storable(turn.label),
        storable(turn.model_id),
        turn.images,
        _metrics_json(turn.metrics),
    )


def text_of(value: object) -> str:
    """A text, whatever the column holds."""
    return value if isinstance(value, str) else "" if value is None else str(value)


def _whole(value: object) -> int:
    return max(INT_MIN, min(INT_MAX, value)) if isinstance(value, int) else 0


def moment_of(value: object) -> datetime:
    """A moment, whatever the column holds."""
    return from_ms(_whole(value))


def summary_of(row: Sequence[Any]) -> Summary:
    """A row of `SUMMARY`."""
    return Summary(
        id=text_of(row[0]),
        title=text_of(row[1]),
        created=moment_of(row[2]),
        updated=moment_of(row[3]),
        origin=text_of(row[4]),
        messages=_whole(row[5]),
        model=None if row[6] is None else text_of(row[6]),
    )


def turn_of(row: Sequence[Any]) -> KeptTurn:
    """A row of `TURN`."""
    return KeptTurn(
        role=Role.ASSISTANT if row[0] == Role.ASSISTANT else Role.USER,
        text=storable(text_of(row[1])),
        reasoning=storable(text_of(row[2])),
        at=None if row[3] is None else moment_of(row[3]),
        state=_ended(text_of(row[4])),
        error=text_of(row[5]),
        hint=text_of(row[6]),
        finish_reason=None if row[7] is None else text_of(row[7]),
        label=text_of(row[8]),
        model_id=text_of(row[9]),
        images=max(0, _whole(row[10])),
        metrics=metrics_of(text_of(row[11])),
    )


def _metrics_json(metrics: RequestMetrics) -> str:
    known = {name: value for name, value in dataclasses.asdict(metrics).items() if value is not None}
    return dump_json(known).decode() if known else ""


def metrics_of(text: str) -> RequestMetrics:
    """Figures from their JSON; what is none of them is left out."""
    if not text:
        return NO_METRICS
    try:
        found = parse_json(text.encode("utf-8", "replace"), max_bytes=_METRICS_BYTES)
    except JsonRejected:
        return NO_METRICS
    if not isinstance(found, dict):
        return NO_METRICS
    known: dict[str, Any] = {
        field.name: value
        for field in dataclasses.fields(RequestMetrics)
        if isinstance(value := found.get(field.name), int | float) and not isinstance(value, bool)
    }
    source = found.get("tokens_source")
    if isinstance(source, str) and source in set(TokensSource):
        known["tokens_source"] = TokensSource(source)
    return RequestMetrics(**known)


def _ended(state: str) -> AnswerState:
    known = AnswerState(state) if state in set(AnswerState) else AnswerState.DONE
    # Kept while it grew, and nobody came to say how it ended.
    return AnswerState.STOPPED if known is AnswerState.STREAMING else known
