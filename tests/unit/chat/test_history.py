"""The file of kept conversations: broken, foreign, newer, busy, full; and what is found in it (B1 to B9)."""

import os
import sqlite3
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from llama_runner.backends.live import AnswerState
from llama_runner.backends.request import Role
from llama_runner.chat import history_opening
from llama_runner.chat.history import History
from llama_runner.chat.history_opening import BACKUPS_KEPT, DamagedError, HistoryFile, set_up
from llama_runner.chat.history_schema import APPLICATION_ID, MIGRATIONS
from llama_runner.chat.history_search import Search
from llama_runner.chat.history_store import HistoryStore
from llama_runner.chat.history_values import (
    MAX_TEXT_CHARS,
    MAX_TURNS,
    KeptTurn,
    from_ms,
    to_ms,
)
from llama_runner.core.backups import backups_of
from llama_runner.core.errors import NotFoundError, StorageError, UsageError
from llama_runner.core.trace import RequestMetrics, TokensSource
from llama_runner.system.locks import FileLock
from tests.unit.chat.kept import START, FixedClock, conversation, file_in, opened, store_in, talk

ID = f"{1:032x}"


def kept_file(folder: Path) -> Path:
    """A closed file with one conversation."""
    with store_in(folder) as store:
        store.put(conversation(1, "Why is the sky blue?", "Because."))
    return folder / "history.db"


# --- B1 to B4: what may lie there --------------------------------------------------------------------------


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("my notes\n" * 500)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _random_header(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(bytes(range(100)) + data[100:])


def _half(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _garbage_page(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096 : 2 * 4096] = b"\xa5" * 4096
    path.write_bytes(data)


def _missing_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE messages")
        connection.commit()


def _foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
        connection.commit()


def _pragma(statement: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(statement)

    return change


@pytest.mark.parametrize(
    "damage",
    [
        _empty,
        _text,
        _folder,
        _random_header,
        _half,
        _garbage_page,
        _missing_table,
        _foreign,
        _pragma("PRAGMA application_id = 7"),
        _pragma("PRAGMA user_version = -1"),
    ],
)
def test_an_unusable_file_is_put_aside_a_copy_restored_and_told(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """B1, B3."""
    path = kept_file(tmp_path)
    with opened(file_in(tmp_path)) as found:
        file_in(tmp_path).back_up(found.connection)
    damage(path)

    with opened(file_in(tmp_path)) as found:
        restored = HistoryStore(found.connection).page(10)

    assert [one.title for one in restored] == ["Why is the sky blue?"]
    assert len(found.notes) == 1
    assert "copy history-" in found.notes[0]
    assert len(list(tmp_path.glob("history.corrupt-*.db"))) == 1


def test_without_a_copy_an_empty_file_is_begun(tmp_path: Path) -> None:
    """B1: told, and nothing deleted."""
    path = kept_file(tmp_path)
    before = path.read_bytes()[100:]
    _random_header(path)

    with opened(file_in(tmp_path)) as found:
        assert HistoryStore(found.connection).count() == 0

    assert "empty one was begun" in found.notes[0]
    aside = next(tmp_path.glob("history.corrupt-*.db"))
    assert aside.read_bytes()[100:] == before


def test_a_broken_copy_is_passed_over(tmp_path: Path) -> None:
    """B1: the newest good one counts."""
    path = kept_file(tmp_path)
    clock = FixedClock()
    good = file_in(tmp_path)
    with opened(good) as found:
        good.back_up(found.connection)
    newer = path.parent / "backups" / f"history-{clock.utc() + timedelta(days=1):%Y%m%dT%H%M%S%f}Z.db"
    newer.write_text("no database")
    _text(path)

    with opened(file_in(tmp_path)) as found:
        assert HistoryStore(found.connection).count() == 1
    assert len(found.notes) == 2


def test_a_log_of_changes_without_its_file_is_put_aside(tmp_path: Path) -> None:
    """B2: what belongs to another file is not played into a new one."""
    (tmp_path / "history.db-wal").write_bytes(b"\x37\x7f\x06\x82" + bytes(500))

    with opened(file_in(tmp_path)) as found:
        assert HistoryStore(found.connection).count() == 0
    assert "only a part of it is there" in found.notes[0]
    assert len(list(tmp_path.glob("history.corrupt-*-wal"))) == 1


@pytest.mark.parametrize("keep", [0, 32, 1000, 4_200])
def test_a_cut_log_of_changes_loses_at_most_what_it_held(tmp_path: Path, keep: int) -> None:
    """B2: a crash, and a log of which only the beginning reached the disk."""
    path = kept_file(tmp_path)
    with opened(file_in(tmp_path)) as found:
        HistoryStore(found.connection).put(conversation(2, "second"))
        crashed = {name: Path(f"{path}{name}").read_bytes() for name in ("", "-wal")}
    for left in tmp_path.glob("history.db*"):
        left.unlink()
    path.write_bytes(crashed[""])
    Path(f"{path}-wal").write_bytes(crashed["-wal"][:keep])

    with opened(file_in(tmp_path)) as found:
        assert found.notes == ()
        assert [one.id for one in HistoryStore(found.connection).page(10)][-1:] == [ID]


def test_a_version_of_nought_is_brought_up_to_date(tmp_path: Path) -> None:
    """B3."""
    _pragma("PRAGMA user_version = 0")(kept_file(tmp_path))

    with store_in(tmp_path) as store:
        assert store.count() == 1
        assert store.connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


def test_a_newer_version_is_read_and_not_written(tmp_path: Path) -> None:
    """B3."""
    path = kept_file(tmp_path)
    _pragma("PRAGMA user_version = 999")(path)

    with opened(file_in(tmp_path)) as found:
        store = HistoryStore(found.connection, found.read_only)
        assert store.count() == 1
        changes: tuple[Callable[[], object], ...] = (
            lambda: store.delete(ID),
            lambda: store.rename(ID, "x"),
            lambda: store.put(conversation(3, "x")),
            lambda: store.save(ID, "", 0, talk("x"), START),
        )
        for change in changes:
            with pytest.raises(StorageError, match="newer version"):
                change()
        # Not even by mistake.
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            found.connection.execute("DELETE FROM messages")
    assert list(tmp_path.glob("history.corrupt-*")) == []


def test_a_migration_is_one_transaction_after_a_copy(tmp_path: Path) -> None:
    """B3, safety 3.4: an older file is copied first; a step that fails leaves it as it was."""
    path = kept_file(tmp_path)
    broken = (*MIGRATIONS, "ALTER TABLE conversations ADD COLUMN mood TEXT; SELECT nonsense FROM nowhere;")
    with pytest.raises(StorageError):
        file_in(tmp_path, migrations=broken).open()
    with store_in(tmp_path) as store:
        assert store.count() == 1
        assert "mood" not in str(store.connection.execute("PRAGMA table_info(conversations)").fetchall())

    good = (*MIGRATIONS, "ALTER TABLE conversations ADD COLUMN mood TEXT;")
    with opened(file_in(tmp_path, migrations=good)) as found:
        assert found.connection.execute("PRAGMA user_version").fetchone() == (2,)
        assert HistoryStore(found.connection).count() == 1
    assert backups_of(path)


def test_a_file_in_use_is_waited_for_and_then_told(tmp_path: Path) -> None:
    """B4: who reads is not disturbed; who writes is told, and nothing is put aside."""
    path = kept_file(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with opened(file_in(tmp_path, busy_s=0.05)) as found:
            store = HistoryStore(found.connection)
            assert store.count() == 1
            with pytest.raises(StorageError, match="in use by another program"):
                store.delete(ID)
    assert list(tmp_path.glob("history.corrupt-*")) == []


def test_a_file_in_use_for_a_moment_is_written_after_it(tmp_path: Path) -> None:
    """B4."""
    path = kept_file(tmp_path)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    asked = threading.Event()

    def let_go() -> None:
        asked.wait()
        other.execute("COMMIT")
        other.close()

    thread = threading.Thread(target=let_go)
    thread.start()
    with store_in(tmp_path) as store:
        asked.set()
        store.delete(ID)
        assert store.count() == 0
    thread.join()


def test_two_programs_open_a_new_file_at_once(tmp_path: Path) -> None:
    """The lock: neither takes the other's half-made file for a broken one."""
    notes: list[tuple[str, ...]] = []

    def open_and_write(number: int) -> None:
        with opened(file_in(tmp_path)) as found:
            HistoryStore(found.connection).put(conversation(number, f"from {number}"))
            notes.append(found.notes)

    threads = [threading.Thread(target=open_and_write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with store_in(tmp_path) as store:
        assert store.count() == 6
    assert notes == [()] * 6


def test_a_file_that_another_program_looks_after_is_left_alone(tmp_path: Path) -> None:
    """B4: half made, it would look broken."""
    path = kept_file(tmp_path)
    _empty(path)
    lock = FileLock(tmp_path / "history.lock")
    assert lock.acquire()
    with lock, pytest.raises(StorageError, match="looking after"):
        file_in(tmp_path, busy_s=0.05).open()
    assert path.stat().st_size == 0


def test_copies_are_made_once_a_day_and_few_are_kept(tmp_path: Path) -> None:
    kept_file(tmp_path)
    file = file_in(tmp_path)
    with opened(file) as found:
        for _ in range(BACKUPS_KEPT + 2):
            file.back_up(found.connection)
    assert len(backups_of(file.path)) == BACKUPS_KEPT
    # The files were written now, which is later than the test's clock: as if from the future, so due.
    before = backups_of(file.path)
    with opened(file):
        newest = backups_of(file.path)[0]
    assert newest not in before
    with closing(sqlite3.connect(newest)) as copy:
        assert copy.execute("SELECT count(*) FROM messages").fetchone() == (2,)


def test_a_copy_of_today_is_enough(tmp_path: Path) -> None:
    kept_file(tmp_path)
    clock = FixedClock()
    clock.now = datetime.now(UTC) + timedelta(seconds=5)
    for hours, copies in ((0, 1), (1, 1), (25, 2)):
        clock.now += timedelta(hours=hours)
        file = HistoryFile(tmp_path / "history.db", tmp_path / "history.lock", clock)
        with opened(file):
            assert len(backups_of(file.path)) == copies


def test_what_a_copy_finds_broken_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """B1: a large file is not read whole at each opening; its daily copy is."""
    monkeypatch.setattr(history_opening, "ALWAYS_CHECKED_BYTES", 0)
    with store_in(tmp_path) as store:
        store.put(conversation(1, "kept"))
    with store_in(tmp_path) as store:
        store.put(conversation(2, *("x" * 3_000 for _ in range(50))))
    path = tmp_path / "history.db"
    data = bytearray(path.read_bytes())
    data[-20 * 4096 : -19 * 4096] = b"\xa5" * 4096
    path.write_bytes(data)

    with opened(file_in(tmp_path)) as found:
        assert [one.title for one in HistoryStore(found.connection).page(10)] == ["kept"]
    assert "damaged" in found.notes[0]


def test_a_copy_that_breaks_does_not_put_the_file_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store_in(tmp_path) as store:
        store.put(conversation(1, "kept"))
    real = history_opening._is_sound

    def sound(connection: sqlite3.Connection) -> bool:
        where = connection.execute("PRAGMA database_list").fetchone()[2]
        return "backups" not in where and real(connection)

    monkeypatch.setattr(history_opening, "_is_sound", sound)
    with store_in(tmp_path) as store:
        assert [one.title for one in store.page(10)] == ["kept"]
    assert list((tmp_path / "backups").iterdir()) == []


def test_two_copies_of_one_moment_do_not_mix(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        store.put(conversation(1, "kept"))
        begun = tmp_path / "backups" / f".history-{START + timedelta(microseconds=1):%Y%m%dT%H%M%S%f}Z.db"
        begun.parent.mkdir()
        begun.write_bytes(b"of another program")
        with pytest.raises(FileExistsError):
            file_in(tmp_path).back_up(store.connection)
    assert begun.read_bytes() == b"of another program"


def test_another_program_may_close_the_file_while_it_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log of changes goes away then, and is no reason to take the file for a broken one."""
    with opened(file_in(tmp_path)) as other:
        HistoryStore(other.connection).put(conversation(1, "kept"))
        real = Path.stat

        def stat(self: Path, *, follow_symlinks: bool = True) -> os.stat_result:
            found = real(self, follow_symlinks=follow_symlinks)
            if self.name == "history.db-wal":
                other.connection.close()
            return found

        monkeypatch.setattr(Path, "stat", stat)
        with store_in(tmp_path) as store:
            assert store.count() == 1


def test_the_file_is_private_and_durable(tmp_path: Path) -> None:
    """Safety 3.4: what was said to be kept survives a power cut, and nobody else reads it."""
    with store_in(tmp_path) as store:
        pragma = {
            name: store.connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete", "application_id")
        }
    assert pragma == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "secure_delete": 1,
        "application_id": APPLICATION_ID,
    }
    # Windows has no such bits: there the folder is the user's own.
    assert sys.platform == "win32" or (tmp_path / "history.db").stat().st_mode & 0o077 == 0


def test_what_was_deleted_is_not_left_in_the_file(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        store.put(conversation(1, "the secret of the blue lagoon"))
        store.put(conversation(2, "anything else"))
    assert b"blue lagoon" in (tmp_path / "history.db").read_bytes()
    with store_in(tmp_path) as store:
        store.delete(ID)
    assert b"blue lagoon" not in (tmp_path / "history.db").read_bytes()


# --- B5, B7, B8: what may stand in it ----------------------------------------------------------------------


def test_a_turn_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    metrics = RequestMetrics(ttft_s=0.25, output_tokens=7, tokens_source=TokensSource.USAGE)
    question = KeptTurn(Role.USER, "Hello?", START, images=2)
    answer = KeptTurn(
        Role.ASSISTANT, "Hi.", START, "hm", AnswerState.TRUNCATED, "It broke.", "Ask again.", "length",
        "model at box", "model", 0, metrics,
    )  # fmt: skip
    with store_in(tmp_path) as store:
        store.save(ID, "Be brief.", 0, (question, answer), START)
        kept = store.load(ID)

    assert kept.turns == (question, answer)
    assert (kept.system_prompt, kept.title, kept.updated) == ("Be brief.", "Hello?", START)


def test_texts_that_cannot_be_stored_are_cut_and_scrubbed(tmp_path: Path) -> None:
    """B5: lone surrogates, NUL, a message of tens of megabytes."""
    with store_in(tmp_path) as store:
        long = "x" * (MAX_TEXT_CHARS + 5)
        store.save(ID, "\udfff", 0, talk("a\ud800b\x00c", long), START)
        kept = store.load(ID)
    assert kept.turns[0].text == "a\ufffdb\ufffdc"
    assert kept.turns[1].text.endswith("x\n[105 more characters were not kept]")
    assert len(kept.turns[1].text) < MAX_TEXT_CHARS
    assert kept.system_prompt == "\ufffd"


def test_rows_of_another_writer_do_not_hide_the_others(tmp_path: Path) -> None:
    """B5: bytes that are no text, numbers beyond what there is, figures that are none."""
    path = kept_file(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE conversations SET created_ms = 9223372036854775807, title = x'ff41'")
        connection.execute(
            "UPDATE messages SET text = CAST(x'ff42' AS TEXT), metrics = '{\"ttft_s\": NaN}', state = 'odd',"
            " at_ms = 'never', images = -5 WHERE position = 0"
        )
        connection.execute("UPDATE messages SET metrics = '[[[', role = 7 WHERE position = 1")
        connection.commit()

    with store_in(tmp_path) as store:
        assert len(store.page(10)) == 1
        turns = store.load(ID).turns
    assert [(turn.text, turn.state, turn.images) for turn in turns] == [
        ("\ufffdB", AnswerState.DONE, 0),
        ("Because.", AnswerState.DONE, 0),
    ]
    assert turns[0].metrics.ttft_s is None


def test_an_answer_that_was_cut_off_by_a_crash_counts_as_stopped(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        growing = replace(talk("q", "half an ans")[1], state=AnswerState.STREAMING)
        store.save(ID, "", 0, (talk("q")[0], growing), START)
        assert store.load(ID).turns[1].state is AnswerState.STOPPED


def test_odd_dates_and_equal_ones_keep_a_stable_order(tmp_path: Path) -> None:
    """B7."""
    dates = [datetime(1970, 1, 1, tzinfo=UTC), datetime(2400, 1, 1, tzinfo=UTC), START, START]
    with store_in(tmp_path) as store:
        for number, date in enumerate(dates):
            store.put(conversation(number, f"q{number}", updated=date))
        assert [one.title for one in store.page(10)] == ["q1", "q3", "q2", "q0"]
        assert [one.title for one in store.page(2, 1)] == ["q3", "q2"]
        # The same number twice is impossible: the second writer replaces.
        store.save(f"{2:032x}", "", 0, talk("other"), START)
        assert [turn.text for turn in store.load(f"{2:032x}").turns] == ["other"]
    assert from_ms(2**62).year == 9999
    assert to_ms(from_ms(-5)) == -5


def test_sql_in_names_is_only_text(tmp_path: Path) -> None:
    """B8."""
    evil = "'); DROP TABLE messages; --"
    with store_in(tmp_path) as store:
        store.save(ID, evil, 0, talk(evil, evil, model=evil), START)
        store.rename(ID, evil)
        assert store.page(10)[0].title == evil
        assert store.search(evil, 10).conversations[0].model == evil
        assert store.load(ID).turns[1].model_id == evil


# --- B6: lists and searches --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("steering", ["bikes"]),
        ("STEER", ["bikes"]),
        ("cafe", ["coffee"]),
        ("café", ["coffee"]),
        ("cafe\u0301", ["coffee"]),
        ("100%", ["signs"]),
        ("%", ["signs"]),
        ("_", ["signs"]),
        ('"', ["signs"]),
        ("'", []),
        ("NEAR(", ["signs"]),
        ("a NEAR b", []),
        ("bikes OR signs", []),
        ("*", []),
        ("AND", []),
        ("-x", []),
        ("text:steering", []),
        ("^steering", ["bikes"]),
        ("天空", ["sky"]),
        ("bikes", ["bikes"]),
        ("x" * 10_000, []),
        ("steering " * 1_200, ["bikes"]),
        ("\x00", []),
        ("\ud800", []),
        ("", ["sky", "signs", "coffee", "bikes"]),
    ],
)
def test_a_search_takes_whatever_is_typed(tmp_path: Path, text: str, found: list[str]) -> None:
    """B6: signs of LIKE and of full-text search are signs, nothing is a syntax error."""
    with store_in(tmp_path) as store:
        for number, (title, said) in enumerate(
            [
                ("bikes", "They stay up by steering, mostly."),
                ("coffee", "The Café was closed."),
                ("signs", 'NEAR( is 100% a "function_name".'),
                ("sky", "为什么天空是蓝色的"),
            ]
        ):
            store.put(replace(conversation(number + 1, "hello", said), title=title))
        result = store.search(text, 10)
    assert [one.title for one in result.conversations] == found
    assert result.complete


def test_a_search_shows_where_and_ends_at_its_limit(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        for number in range(5):
            store.put(conversation(number, f"q{number}", "so " * 200 + "the needle is here" + " so" * 200))
        found = store.search("needle", 3)
    assert len(found.conversations) == 3
    assert not found.complete
    assert "the needle is here" in found.conversations[0].excerpt
    assert len(found.conversations[0].excerpt) < 130


def test_a_search_that_takes_too_long_tells_what_it_has(tmp_path: Path) -> None:
    """B6: the time is counted by a clock of the test, so that it is over at once."""
    with store_in(tmp_path) as store:
        store.put(conversation(1, "needle", *("straw %" for _ in range(4_000))))
        ticks = iter(range(10**9))
        slow = Search(store.connection, indexed=True, now=lambda: float(next(ticks)))
        found = slow.find("%%", 10)
        assert not found.complete
        # And the connection serves on.
        assert store.search("needle", 10).complete


def test_what_another_program_deletes_meanwhile_is_not_found(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        store.put(conversation(1, "needle one"))
        store.put(conversation(2, "needle two"))
        kept, gone = store.ids()

        def delete(statement: str) -> None:
            if statement.lstrip().startswith("SELECT c.id"):
                store.connection.set_trace_callback(None)
                with store_in(tmp_path) as other:
                    other.delete(gone)

        store.connection.set_trace_callback(delete)
        assert [one.id for one in store.search("needle", 10).conversations] == [kept]


def test_without_full_text_search_the_texts_are_read(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        store.put(conversation(1, "bikes", "They stay up by steering."))
        plain = Search(store.connection, indexed=False)
        assert [one.title for one in plain.find("by steer", 10).conversations] == ["bikes"]


async def test_an_index_that_does_not_fit_is_made_anew(tmp_path: Path) -> None:
    history = History(file_in(tmp_path), FixedClock())
    await history.put(conversation(1, "bikes", "They stay up by steering."))
    await history.close()
    with closing(sqlite3.connect(tmp_path / "history.db", isolation_level=None)) as connection:
        connection.execute("UPDATE words_data SET block = x'00' WHERE id > 10")

    history = History(file_in(tmp_path), FixedClock())
    found = await history.search("steering", 10)
    await history.close()

    assert [one.title for one in found.conversations] == ["bikes"]
    assert history.take_notes() == ()


def test_ids_may_be_shortened_as_long_as_they_are_clear(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        store.put(replace(conversation(1, "a"), id="abcd" + "0" * 28))
        store.put(replace(conversation(2, "b"), id="abce" + "0" * 28))
        assert store.full_id("ABCD") == "abcd" + "0" * 28
        for given, kind in (("abc", UsageError), ("abcf", NotFoundError), ("%%%%", UsageError)):
            with pytest.raises(kind):
                store.full_id(given)
        store.put(replace(conversation(3, "c"), id="abcd1" + "0" * 27))
        with pytest.raises(UsageError, match="More than one"):
            store.full_id("abcd")


# --- B9: the n-th statement fails --------------------------------------------------------------------------


class Failing(sqlite3.Connection):
    """Lets the n-th statement from now on fail as on a full disk."""

    left = 10**9

    def _count(self) -> None:
        Failing.left -= 1
        if Failing.left == 0:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error

    def execute(self, *args: Any) -> sqlite3.Cursor:
        self._count()
        return super().execute(*args)

    def executemany(self, *args: Any) -> sqlite3.Cursor:
        self._count()
        return super().executemany(*args)


def fail_at_every_statement(folder: Path, action: Callable[[HistoryStore], object]) -> None:
    """For n = 1.. until it succeeds: nothing or all of it, and the file sound."""

    def connect(*args: Any, **more: Any) -> sqlite3.Connection:
        return sqlite3.connect(*args, factory=Failing, **more)

    for number in range(1, 60):
        with opened(file_in(folder, connect=connect)) as found:
            store = HistoryStore(found.connection)
            before = (store.page(10), [store.load(one.id) for one in store.page(10)])
            Failing.left = number
            try:
                action(store)
            except StorageError as error:
                assert "disk I/O error" in error.message
                Failing.left = 10**9
                assert (store.page(10), [store.load(one.id) for one in store.page(10)]) == before
                assert store.connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
                assert not store.connection.in_transaction
                continue
            finally:
                Failing.left = 10**9
            assert number > 2
            return
    pytest.fail("it never succeeded")


@pytest.mark.parametrize(
    "action",
    [
        lambda store: store.save(f"{2:032x}", "s", 0, talk("q", "a"), START),
        lambda store: store.save(ID, "s", 1, talk("q", "a"), START),
        lambda store: store.put_new([conversation(2, "b"), conversation(3, "c")]),
        lambda store: store.delete(ID),
        lambda store: store.rename(ID, "other"),
    ],
)
def test_no_half_message_is_kept_whatever_statement_fails(
    tmp_path: Path, action: Callable[[HistoryStore], object]
) -> None:
    """B9."""
    kept_file(tmp_path)
    fail_at_every_statement(tmp_path, action)


def test_opening_survives_a_failure_at_every_statement(tmp_path: Path) -> None:
    """B9: nothing is put aside because the disk did not answer once."""
    kept_file(tmp_path)

    def connect(*args: Any, **more: Any) -> sqlite3.Connection:
        return sqlite3.connect(*args, factory=Failing, **more)

    for number in range(1, 60):
        Failing.left = number
        try:
            with opened(file_in(tmp_path, connect=connect)) as found:
                Failing.left = 10**9
                assert HistoryStore(found.connection).count() == 1
                break
        except StorageError:
            Failing.left = 10**9
    else:
        pytest.fail("it never opened")
    assert number > 5
    assert list(tmp_path.glob("history.corrupt-*")) == []


async def test_a_full_disk_is_told_and_the_next_try_keeps_it(tmp_path: Path) -> None:
    """B9: SQLite's own refusal, of a file that may not grow."""
    with store_in(tmp_path) as store:
        store.save(ID, "", 0, talk("q"), START)
        pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
        store.connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StorageError, match="full") as refused:
            store.save(ID, "", 1, talk("a" * 100_000), START)
        assert "Make room" in refused.value.hint
        assert [turn.text for turn in store.load(ID).turns] == ["q"]
        store.connection.execute("PRAGMA max_page_count = 100000")
        store.save(ID, "", 1, talk("a" * 100_000), START)
        assert len(store.load(ID).turns) == 2


# --- the whole, as a program uses it -----------------------------------------------------------------------


async def test_a_file_that_breaks_while_it_is_open_is_put_aside(tmp_path: Path) -> None:
    """B1 later: told once, and the next call goes on with the copy."""
    history = History(file_in(tmp_path), FixedClock())
    await history.put(conversation(1, "kept"))
    await history.close()
    assert backups_of(tmp_path / "history.db") == ()

    history = History(file_in(tmp_path), FixedClock())
    assert await history.count() == 1
    assert len(backups_of(tmp_path / "history.db")) == 1

    def broken(store: HistoryStore) -> None:
        raise DamagedError("it is damaged")

    with pytest.raises(StorageError, match="do it again"):
        await history._do(broken)
    assert await history.count() == 1
    assert "copy history-" in history.take_notes()[0]
    assert history.take_notes() == ()
    await history.close()


async def test_a_closed_history_says_so_and_closing_twice_is_harmless(tmp_path: Path) -> None:
    history = History(file_in(tmp_path), FixedClock())
    await history.close()
    await history.close()
    assert not (tmp_path / "history.db").exists()
    with pytest.raises(StorageError, match="closed"):
        await history.count()


def test_a_saved_turn_replaces_what_followed(tmp_path: Path) -> None:
    """An answer asked for again."""
    with store_in(tmp_path) as store:
        store.save(ID, "", 0, talk("q", "first answer"), START)
        store.save(ID, "", 2, talk("q2", "a2"), START)
        store.save(ID, "", 0, talk("q", "better answer"), START + timedelta(hours=1))
        kept = store.load(ID)
        assert [turn.text for turn in kept.turns] == ["q", "better answer"]
        assert store.search("first", 10).conversations == ()
        assert (kept.created, kept.updated) == (START, START + timedelta(hours=1))


def test_only_the_newest_turns_are_read_when_asked(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        store.put(conversation(1, *map(str, range(MAX_TURNS + 10))))
        assert store.page(1)[0].messages == MAX_TURNS
        assert [turn.text for turn in store.load(ID, 2).turns] == ["10008", "10009"]


def test_titles_are_one_line_and_never_empty(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        store.save(ID, "", 0, talk("  \n first line \nsecond"), START)
        assert store.page(1)[0].title == "first line"
        store.rename(ID, " a\nb\t c ")
        assert store.page(1)[0].title == "a b c"
        with pytest.raises(UsageError):
            store.rename(ID, " \n ")
        with pytest.raises(NotFoundError):
            store.rename("f" * 32, "x")
        with pytest.raises(NotFoundError):
            store.load("f" * 32)


def test_a_foreign_trigger_is_not_run(tmp_path: Path) -> None:
    """A file that was tampered with: its schema may call nothing."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.create_function("load", 1, lambda text: text)
        set_up(connection)
        connection.execute("CREATE TABLE t (a)")
        connection.execute("CREATE TRIGGER evil AFTER INSERT ON t BEGIN SELECT load(new.a); END")
        with pytest.raises(sqlite3.OperationalError, match="unsafe"):
            connection.execute("INSERT INTO t VALUES (1)")
