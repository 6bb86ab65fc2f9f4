"""Versions of a configuration file that are kept beside it."""

from datetime import datetime
from pathlib import Path

import pytest

from llama_runner.core.backups import BACKUPS_KEPT, back_up, backups_of, restore
from llama_runner.core.errors import ConfigError
from tests.unit.core.faults import HandClock


class _Ticking(HandClock):
    """A second later whenever it is asked."""

    def utc(self) -> datetime:
        self.advance(1)
        return super().utc()


def test_of_nothing_there_is_no_copy(tmp_path: Path) -> None:
    assert back_up(tmp_path / "app_config.json", _Ticking()) is None
    assert backups_of(tmp_path / "app_config.json") == ()


def test_the_newest_ten_stay_and_files_of_others_are_none(tmp_path: Path) -> None:
    path, clock = tmp_path / "app_config.json", _Ticking()
    for number in range(BACKUPS_KEPT + 3):
        path.write_text(f'{{"n": {number}}}')
        back_up(path, clock)
    (tmp_path / "backups" / "app_config-mine.json").write_text("{}")
    kept = backups_of(path)
    assert [copy.read_text() for copy in kept] == [f'{{"n": {n}}}' for n in range(12, 2, -1)]


def test_a_backup_comes_back_and_what_was_there_is_kept(tmp_path: Path) -> None:
    path, clock = tmp_path / "app_config.json", _Ticking()
    path.write_text('{"n": 1}')
    copy = back_up(path, clock)
    assert copy is not None
    path.write_text('{"n": 2}')
    restore(path, copy, clock)
    assert path.read_text() == '{"n": 1}'
    assert [version.read_text() for version in backups_of(path)] == ['{"n": 2}', '{"n": 1}']


@pytest.mark.parametrize("damage", ["", "{", '{"n": '])
def test_a_damaged_backup_changes_nothing(tmp_path: Path, damage: str) -> None:
    """C2."""
    path, clock = tmp_path / "app_config.json", _Ticking()
    path.write_text("{}")
    copy = back_up(path, clock)
    assert copy is not None
    copy.write_text(damage)
    with pytest.raises(ConfigError, match="cannot be used"):
        restore(path, copy, clock)
    assert path.read_text() == "{}"
    assert len(backups_of(path)) == 1
