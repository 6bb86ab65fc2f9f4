import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llama_runner.core import logfile, logs
from llama_runner.core.logfile import RotatingFile, prune
from llama_runner.core.logs import (
    LogHandle,
    RepeatLimit,
    RingHandler,
    hide_from_logs,
    one_line,
    start_logging,
)
from llama_runner.core.paths import Home, create_folders, home_at
from llama_runner.core.redaction import Redactor
from llama_runner.core.settings import AppConfig, LoggingSettings
from tests.unit.core.faults import HandClock

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")
log = logging.getLogger("llama_runner.a_test")


@pytest.fixture
def place(tmp_path: Path) -> Home:
    home = home_at(tmp_path / "h")
    create_folders(home)
    return home


@pytest.fixture
def start(place: Home) -> Iterator[Callable[..., LogHandle]]:
    """`start_logging` into a temporary home; whatever is still open is closed afterwards."""
    handles: list[LogHandle] = []

    def start_here(config: AppConfig | None = None, **options: object) -> LogHandle:
        arguments = {"console": False, "debug": False} | options
        handles.append(start_logging(place, config or AppConfig(), **arguments))  # type: ignore[arg-type]
        return handles[-1]

    yield start_here
    for handle in handles:
        handle.close()


def written(handle: LogHandle) -> str:
    handle.close()
    return handle.file.read_text("utf-8")


def test_a_secret_learnt_later_is_hidden_from_every_running_log(start: Callable[..., LogHandle]) -> None:
    """R9."""
    handle = start()
    hide_from_logs("learnt-just-now")
    log.info("key=learnt-just-now")
    assert "learnt-just-now" not in written(handle)


def test_records_reach_file_and_tail_as_one_redacted_line(start: Callable[..., LogHandle]) -> None:
    handle = start()
    handle.redactor.add("my-own-secret")
    log.info("server ready endpoint=%s\nsecond \x1b[31mline ä", "http://u:p@h my-own-secret")
    text = written(handle)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO llama_runner\.a_test server ready "
        r"endpoint=http://\[redacted\]@h \[redacted\]\\nsecond \\x1b\[31mline ä\n",
        text,
    )
    (line,) = handle.tail.records()
    assert (line.seq, line.level, line.logger) == (1, "INFO", "llama_runner.a_test")
    assert line.text in text and line.time.utcoffset() is not None


def test_a_traceback_stays_on_the_line_of_its_record(start: Callable[..., LogHandle]) -> None:
    handle = start()
    try:
        raise ValueError("token=abc")
    except ValueError:
        log.exception("it failed")
    text = written(handle)
    assert text.count("\n") == 1
    assert "it failed\\nTraceback" in text and "ValueError: token=[redacted]" in text


@posix_only
def test_the_log_file_is_private(start: Callable[..., LogHandle]) -> None:
    handle = start()
    log.info("x")
    written(handle)
    assert handle.file.stat().st_mode & 0o777 == 0o600


def test_the_level_comes_from_the_settings_and_others_only_warn(start: Callable[..., LogHandle]) -> None:
    handle = start(AppConfig(logging=LoggingSettings(level="WARNING")))
    log.info("own info")
    log.warning("own warning")
    logging.getLogger("somebody.else").warning("their warning")
    logging.getLogger("somebody.else").info("their info")
    text = written(handle)
    assert "own warning" in text and "their warning" in text
    assert "info" not in text


def test_debug_lets_everything_of_ours_through_and_closing_restores_the_level(
    start: Callable[..., LogHandle],
) -> None:
    before = logging.getLogger("llama_runner").level
    handle = start(debug=True)
    log.debug("details")
    assert "DEBUG llama_runner.a_test details" in written(handle)
    assert logging.getLogger("llama_runner").level == before
    handle.close()


def test_the_console_shows_the_same_lines_as_the_file(
    start: Callable[..., LogHandle], capsys: pytest.CaptureFixture[str]
) -> None:
    handle = start(console=True)
    log.info("shown")
    assert written(handle) == capsys.readouterr().err


def test_without_a_console_nothing_is_printed(
    start: Callable[..., LogHandle], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = start()
    log.info("x")
    handle.close()
    # A windowed program on Windows has no standard error at all.
    monkeypatch.setattr(sys, "stderr", None)
    handle = start(console=True)
    log.info("y")
    assert "y" in written(handle)
    monkeypatch.undo()
    assert capsys.readouterr().err == ""


@posix_only
def test_a_console_that_nobody_reads_does_not_disturb(
    start: Callable[..., LogHandle], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", buffering=1) as gone:
        monkeypatch.setattr(sys, "stderr", gone)
        handle = start(console=True)
        log.info("one")
        log.info("two")
        assert written(handle).count("\n") == 2
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)


def test_a_faulty_log_call_is_named_without_its_arguments(start: Callable[..., LogHandle]) -> None:
    handle = start()
    # Straight to our handler: pytest's own one would raise.
    record = log.makeRecord(log.name, logging.INFO, __file__, 1, "number %d", ("canary",), None)
    handle._inlet.handle(record)
    text = written(handle)
    assert "a log call cannot be formatted" in text and "test_logs.py" in text
    assert "canary" not in text


def test_a_message_in_a_loop_is_cut_off_and_the_rest_counted(start: Callable[..., LogHandle]) -> None:
    clock = HandClock()
    handle = start(clock=clock)
    for number in range(logs.REPEATS_PER_WINDOW + 7):
        log.info("again %d", number)
    clock.advance(11)
    log.info("again %d", -1)
    text = written(handle)
    assert text.count("again") == logs.REPEATS_PER_WINDOW + 1
    assert "7 log records left out" in text


def test_what_was_left_out_last_is_told_at_the_end(start: Callable[..., LogHandle]) -> None:
    handle = start(clock=HandClock())
    for _ in range(logs.REPEATS_PER_WINDOW + 1):
        log.info("again")
    assert "1 log records left out" in written(handle)


def test_the_memory_of_repeats_is_bounded() -> None:
    limit = RepeatLimit(HandClock())

    def record(text: str) -> logging.LogRecord:
        return logging.LogRecord("a", logging.INFO, "f", 1, text, None, None)

    for _ in range(logs.REPEATS_PER_WINDOW):
        assert limit.allows(record("the same"))
    assert not limit.allows(record("the same"))
    for number in range(logs.MAX_DISTINCT_MESSAGES + 1):
        limit.allows(record(str(number)))
    assert limit.allows(record("the same"))


class HeldHandler(logging.Handler):
    """Holds the writer until released, as a console does that nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.release_now = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.entered.set()
        self.release_now.wait(30)


def test_a_flood_is_dropped_and_counted_instead_of_filling_the_memory(
    start: Callable[..., LogHandle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "QUEUE_RECORDS", 3)
    handle = start(clock=HandClock())
    held = HeldHandler()
    handle._outlet.handlers = (held, *handle._outlet.handlers)
    log.info("first")
    assert held.entered.wait(5)
    for number in range(5):
        log.info("%s", number)
    held.release_now.set()
    text = written(handle)
    assert "2 log records left out" in text


def test_closing_does_not_wait_for_ever_for_a_writer_that_hangs(
    start: Callable[..., LogHandle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "QUEUE_RECORDS", 1)
    monkeypatch.setattr(logs, "CLOSE_TIMEOUT_S", 0.05)
    handle = start()
    held = HeldHandler()
    handle._outlet.handlers = (held,)
    writer = handle._outlet._thread
    log.info("first")
    assert held.entered.wait(5)
    log.info("second")
    handle.close()
    handle._outlet.stop()
    held.release_now.set()
    handle._outlet.enqueue_sentinel()
    assert writer is not None
    writer.join(5)


def test_the_tail_keeps_the_last_records_and_answers_what_is_new() -> None:
    tail = RingHandler(capacity=3)
    for number in range(5):
        tail.handle(logging.LogRecord("a", logging.INFO, "f", 1, f"r{number}", None, None))
    assert [(line.seq, line.text) for line in tail.records()] == [(3, "r2"), (4, "r3"), (5, "r4")]
    assert [line.seq for line in tail.records(after=4)] == [5]
    assert tail.records(after=5) == []


def test_a_long_record_keeps_both_ends() -> None:
    text = one_line("a" * 6000 + "b" * 6000)
    assert len(text) < 8300
    assert text.startswith("aaa") and text.endswith("bbb")
    assert "[3808 characters left out]" in text


def test_line_breaks_of_every_kind_are_escaped() -> None:
    assert one_line("a\r\n\x00\x85\u2028\ud800\tb") == "a\\r\\n\\x00\\x85\\u2028\\ud800\tb"


def small_file(
    path: Path, reports: list[str] | None = None, *, count: int = 3, clock: HandClock | None = None
) -> RotatingFile:
    file = RotatingFile(
        path,
        max_bytes=300,
        file_count=count,
        report=(reports if reports is not None else []).append,
        clock=clock or HandClock(),
    )
    file.setFormatter(logs.LineFormatter())
    return file


def put(file: RotatingFile, text: str) -> None:
    file.handle(logging.LogRecord("llama_runner", logging.INFO, "f", 1, text, None, None))


def all_text(folder: Path) -> str:
    return "".join(path.read_text("utf-8") for path in sorted(folder.iterdir()))


def test_a_full_file_is_put_aside_and_the_oldest_removed(tmp_path: Path) -> None:
    file = small_file(tmp_path / "a.log")
    for number in range(40):
        put(file, f"record {number}")
    file.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.log", "a.log.1", "a.log.2"]
    assert all(path.stat().st_size <= 300 for path in tmp_path.iterdir())
    assert "record 39" in (tmp_path / "a.log").read_text()


@posix_only
def test_two_processes_may_share_a_file(tmp_path: Path) -> None:
    one, two = small_file(tmp_path / "a.log", count=20), small_file(tmp_path / "a.log", count=20)
    for number in range(30):
        put(one, f"one {number}.")
        put(two, f"two {number}.")
    (tmp_path / "a.log").unlink()
    put(one, "after removal")
    one.close()
    two.close()
    text = all_text(tmp_path)
    assert "after removal" in text
    assert all(path.stat().st_size <= 300 for path in tmp_path.iterdir())
    assert text.count("one ") + text.count("two ") > 50


def test_f36_when_renaming_is_refused_logging_goes_on_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: object, target: object) -> None:
        raise PermissionError(13, "The process cannot access the file")

    monkeypatch.setattr(os, "rename", refuse)
    clock = HandClock()
    file = small_file(tmp_path / "a.log", clock=clock)
    for number in range(60):
        clock.advance(1)
        put(file, f"record {number}")
        assert f"record {number}" in file.path.read_text()
    file.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert "a.log" in names and len(names) <= 4
    assert all(path.stat().st_size <= 300 for path in tmp_path.iterdir())


@posix_only
def test_f31_a_full_disk_is_told_once_and_logging_resumes(tmp_path: Path) -> None:
    reports: list[str] = []
    file = small_file(tmp_path / "a.log", reports)
    (tmp_path / "a.log").symlink_to("/dev/full")
    for number in range(5):
        put(file, f"lost {number}")
    assert len(reports) == 1 and "cannot be written" in reports[0]
    (tmp_path / "a.log").unlink()
    put(file, "back again")
    (tmp_path / "a.log").unlink()
    (tmp_path / "a.log").symlink_to("/dev/full")
    put(file, "lost")
    put(file, "lost")
    assert len(reports) == 2
    file.close()


def test_a_log_folder_that_vanished_is_reported_in_the_tail(
    start: Callable[..., LogHandle], place: Home
) -> None:
    place.logs_dir.rmdir()
    handle = start()
    log.info("hello")
    handle.close()
    texts = [line.text for line in handle.tail.records()]
    assert texts[0] == "hello"
    assert "cannot be written" in texts[1]


def test_all_log_files_together_stay_below_the_cap(tmp_path: Path) -> None:
    for number, name in enumerate(("llama-runner.log", "m.log.2", "m.log.1", "m.log", "notes.txt")):
        (tmp_path / name).write_bytes(b"x" * 100)
        os.utime(tmp_path / name, (number, number))
    prune(tmp_path, keep=tmp_path / "llama-runner.log", max_bytes=1000)
    assert len(list(tmp_path.iterdir())) == 5
    prune(tmp_path, keep=tmp_path / "llama-runner.log", max_bytes=250)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["llama-runner.log", "m.log", "notes.txt"]
    prune(tmp_path, keep=tmp_path / "llama-runner.log", max_bytes=0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["llama-runner.log", "notes.txt"]


def test_files_that_vanish_while_they_are_counted_weigh_nothing(tmp_path: Path) -> None:
    gone = tmp_path / "gone.log"
    assert logfile._modified_ns(gone) == logfile._size(gone) == 0
    logfile._remove(gone)


def test_secrets_known_before_the_log_started_are_hidden(start: Callable[..., LogHandle]) -> None:
    redactor = Redactor()
    redactor.add("known-before")
    handle = start(redactor=redactor, name="service")
    log.warning("known-before")
    assert handle.file.name == "service.log"
    assert "known-before" not in written(handle)
