"""The tables of the kept conversations, and how a file of an older version gets them."""

import sqlite3
from collections.abc import Sequence
from typing import Final

# "LRch": the file says itself whose it is.
APPLICATION_ID: Final = 0x4C526368

_FIRST: Final = """
CREATE TABLE IF NOT EXISTS conversations (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    system_prompt TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    origin TEXT NOT NULL,
    imported_ms INTEGER
);
CREATE INDEX IF NOT EXISTS conversations_by_update ON conversations (updated_ms DESC, key DESC);
CREATE TABLE IF NOT EXISTS messages (
    key INTEGER PRIMARY KEY,
    conversation INTEGER NOT NULL REFERENCES conversations (key) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    role TEXT NOT NULL,
    text TEXT NOT NULL,
    reasoning TEXT NOT NULL,
    at_ms INTEGER,
    state TEXT NOT NULL,
    error TEXT NOT NULL,
    hint TEXT NOT NULL,
    finish_reason TEXT,
    label TEXT NOT NULL,
    model_id TEXT NOT NULL,
    images INTEGER NOT NULL,
    metrics TEXT NOT NULL,
    UNIQUE (conversation, position)
);
"""

# Where this SQLite was built without FTS5 there is no index, and a search reads the texts. Kept in step by
# the store and not by triggers: a schema that may run nothing (trusted_schema) runs none of these either.
_INDEX: Final = """
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (
    text, content='messages', content_rowid='key', tokenize='unicode61 remove_diacritics 2'
);
"""

# One script for each version, in order; a released one is never changed.
MIGRATIONS: Final[tuple[str, ...]] = (_FIRST,)

_COLUMNS: Final = {
    "conversations": frozenset(
        ("key", "id", "title", "system_prompt", "created_ms", "updated_ms", "origin", "imported_ms")
    ),
    "messages": frozenset(
        ("key", "conversation", "position", "role", "text", "reasoning", "at_ms", "state", "error", "hint")
    )
    | {"finish_reason", "label", "model_id", "images", "metrics"},
}


def has_index(connection: sqlite3.Connection) -> bool:
    """Whether texts can be searched by their words."""
    return _table(connection, "words")


def _table(connection: sqlite3.Connection, name: str) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone() is not None


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether nothing was ever put into the file."""
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None


def lacks(connection: sqlite3.Connection) -> str:
    """What a file with the newest version lacks all the same; empty when it is whole (B1)."""
    for table, wanted in _COLUMNS.items():
        there = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        if missing := sorted(wanted - there):
            return f"{table}: {', '.join(missing)}"
    return ""


def migrate(connection: sqlite3.Connection, version: int, migrations: Sequence[str] = MIGRATIONS) -> None:
    """Bring the tables from `version` to the newest one, one transaction for each step."""
    for number, script in enumerate(migrations[version:], version + 1):
        index = _INDEX if number == len(migrations) and fts5_built_in(connection) else ""
        _in_transaction(
            connection,
            f"{script}{index}PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number};",
        )


def fts5_built_in(connection: sqlite3.Connection) -> bool:
    """Whether this SQLite knows full-text search."""
    return any(row[0] == "fts5" for row in connection.execute("SELECT name FROM pragma_module_list"))


def _in_transaction(connection: sqlite3.Connection, script: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in _statements(script):
            connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(script: str) -> list[str]:
    """Each statement of a script; `executescript` would commit what was begun."""
    found, so_far = [], ""
    for line in script.splitlines(keepends=True):
        for piece in line.replace(";", ";\0").split("\0"):
            so_far += piece
            if sqlite3.complete_statement(so_far):
                found.append(so_far)
                so_far = ""
    return found
