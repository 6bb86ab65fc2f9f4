"""R7, A6: an engine that is another one than last time, and one that is known to be bad."""

from pathlib import Path

import pytest

from llama_runner.core.paths import Home, create_folders, home_at
from llama_runner.runtime.engine import EngineInfo
from llama_runner.runtime.engine_book import MAX_KEPT, EngineBook, too_old


@pytest.fixture
def place(tmp_path: Path) -> Home:
    home = home_at(tmp_path / "home")
    create_folders(home)
    return home


def _engine(tmp_path: Path, content: str, version: str | None = "0.6.0-dev (build 11434)") -> EngineInfo:
    path = tmp_path / "llama-server"
    path.write_text(content)
    return EngineInfo(path, version, frozenset())


def test_an_engine_that_stayed_as_it_was_is_no_news(tmp_path: Path, place: Home) -> None:
    engine = _engine(tmp_path, "one")
    assert EngineBook(place).look(engine) is None
    assert EngineBook(place).look(engine) is None
    assert (place.data_dir / "engines.json").read_text().count("sha256") == 1


def test_a6_a_replaced_engine_is_told_once_with_both_versions(tmp_path: Path, place: Home) -> None:
    EngineBook(place).look(_engine(tmp_path, "one"))
    book = EngineBook(place)
    told = book.look(_engine(tmp_path, "another", "0.7.0 (build 12000)"))
    assert told is not None
    assert "0.6.0-dev (build 11434) then, 0.7.0 (build 12000) now" in told
    assert book.look(_engine(tmp_path, "another", "0.7.0 (build 12000)")) is None
    assert EngineBook(place).look(_engine(tmp_path, "another", "0.7.0 (build 12000)")) is None


@pytest.mark.parametrize("version", ["0.6.0-dev (build 11434)", None])
def test_a6_a_replaced_engine_of_the_same_version_is_suspicious(
    tmp_path: Path, place: Home, version: str | None
) -> None:
    EngineBook(place).look(_engine(tmp_path, "one", version))
    told = EngineBook(place).look(_engine(tmp_path, "two", version))
    assert told is not None
    assert "find out who did" in told


@pytest.mark.parametrize("content", [b"{", b'{"version": 1}', b"\x00" * 300_000])
def test_a_record_that_is_not_understood_is_begun_anew(tmp_path: Path, place: Home, content: bytes) -> None:
    (place.data_dir / "engines.json").write_bytes(content)
    assert EngineBook(place).look(_engine(tmp_path, "one")) is None
    assert EngineBook(place).look(_engine(tmp_path, "two")) is not None


def test_f33_a_record_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    assert EngineBook(home_at(tmp_path / "nowhere")).look(_engine(tmp_path, "one")) is None


def test_an_engine_that_cannot_be_read_is_not_noted(tmp_path: Path, place: Home) -> None:
    assert EngineBook(place).look(EngineInfo(tmp_path / "gone", None, frozenset())) is None
    assert not (place.data_dir / "engines.json").exists()


def test_the_record_has_a_limit_and_forgets_what_was_not_used_for_longest(
    tmp_path: Path, place: Home
) -> None:
    book = EngineBook(place)
    for number in range(MAX_KEPT + 3):
        (tmp_path / str(number)).mkdir()
        book.look(_engine(tmp_path / str(number), "x"))
    text = (place.data_dir / "engines.json").read_text()
    assert text.count("sha256") == MAX_KEPT
    assert str(tmp_path / "2" / "llama-server") not in text
    assert str(tmp_path / "3" / "llama-server") in text


@pytest.mark.parametrize(
    ("version", "old"),
    [
        ("8145 (abcdef12)", True),
        ("3400 (abcdef12)", True),
        ("8146 (abcdef12)", False),
        ("11434 (abcdef12)", False),
        ("1 (abcdef12)", False),
        ("0 (unknown)", False),
        ("0.1.0-dev (build 1, commit 7e4c0a9)", False),
        ("0.0.0-fake (build 0, commit 0000000)", False),
        (None, False),
        ("", False),
        ("b8145", False),
    ],
)
def test_i11_builds_with_a_known_hole_are_told_and_unknown_ones_are_not_judged(
    version: str | None, old: bool
) -> None:
    assert (too_old(Path("/e"), version) is not None) == old
