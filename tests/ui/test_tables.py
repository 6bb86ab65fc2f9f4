"""Tables: sorting, selection that survives new rows, copying."""

from dataclasses import dataclass

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QKeySequence
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from llama_runner.core import format
from llama_runner.ui.widgets.tables import Column, DataTable


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    speed: float | None


COLUMNS: tuple[Column[Row], ...] = (
    Column("Name", lambda row: row.name, stretch=True),
    Column("Speed", lambda row: format.number(row.speed), lambda row: row.speed, number=True),
)
ROWS = (Row("b", 10.0), Row("a", None), Row("c", 9.0))


@pytest.fixture
def table(qtbot: QtBot) -> DataTable[Row]:
    made: DataTable[Row] = DataTable(COLUMNS, lambda row: row.name, name="Speeds")
    qtbot.addWidget(made)
    made.resize(500, 300)
    made.set_rows(ROWS)
    made.show()
    return made


def column(table: DataTable[Row], number: int) -> list[str]:
    model = table.model()
    return [model.index(row, number).data() for row in range(model.rowCount())]


def test_unknown_is_last_whichever_way_a_column_is_sorted(table: DataTable[Row]) -> None:
    table.sortByColumn(1, Qt.SortOrder.AscendingOrder)
    assert column(table, 0) == ["c", "b", "a"]
    table.sortByColumn(1, Qt.SortOrder.DescendingOrder)
    assert column(table, 0) == ["b", "c", "a"]


def test_ctrl_c_copies_rows_as_tab_separated_text_with_headings(table: DataTable[Row]) -> None:
    table.select_keys({"b"})
    table.setFocus()
    QTest.keySequence(table, QKeySequence(QKeySequence.StandardKey.Copy))
    assert QGuiApplication.clipboard().text() == "Name\tSpeed\nb\t10.0"


def test_the_selection_survives_new_rows(table: DataTable[Row]) -> None:
    table.select_keys({"c"})
    table.set_rows((Row("x", 1.0), Row("c", 12.0)))
    assert table.current == Row("c", 12.0)
    table.set_rows((Row("x", 1.0), Row("c", 13.0)))
    assert table.current == Row("c", 13.0)
    table.set_rows((Row("x", 1.0),))
    assert table.current is None


def test_names_from_outside_are_plain_in_cells_and_tooltips(table: DataTable[Row]) -> None:
    """U15."""
    table.set_rows((Row("<b>bold</b> & \u202egpj.exe %s {}", 1.0), Row("x" * 10_000, 2.0)))
    index = table.model().index(0, 0)
    assert index.data() == "<b>bold</b> & ⟨U+202E⟩gpj.exe %s {}"
    assert "<b>" not in index.data(Qt.ItemDataRole.ToolTipRole)
    assert len(table.model().index(1, 0).data()) <= 256


def test_numbers_are_right_aligned_and_a_name_keeps_some_room(table: DataTable[Row]) -> None:
    alignment = table.model().index(0, 1).data(Qt.ItemDataRole.TextAlignmentRole)
    assert alignment & Qt.AlignmentFlag.AlignRight
    table.resize(120, 300)
    QApplication.processEvents()
    assert table.columnWidth(0) >= 120


def test_ten_thousand_rows_are_shown_and_filtered_quickly(table: DataTable[Row], qtbot: QtBot) -> None:
    table.set_rows([Row(f"row {number}", float(number)) for number in range(10_000)])
    table.set_filter("999 ROW")
    assert table.model().rowCount() == 19
    table.set_filter("row 9999")
    assert table.model().rowCount() == 1


def changes(table: DataTable[Row]) -> list[str]:
    """What the model tells its views from now on."""
    told: list[str] = []
    model = table.rows_model
    model.modelReset.connect(lambda: told.append("reset"))
    model.layoutChanged.connect(lambda: told.append("order"))
    model.rowsRemoved.connect(lambda _, first, last: told.append(f"-{first}..{last}"))
    model.rowsInserted.connect(lambda _, first, last: told.append(f"+{first}..{last}"))
    model.dataChanged.connect(lambda first, last, _: told.append(f"={first.row()}..{last.row()}"))
    return told


def test_only_what_changed_is_told_and_what_is_marked_stays_marked(table: DataTable[Row]) -> None:
    table.select_keys({"c"})
    names: set[object] = set()
    table.chosen.connect(lambda: names.add(table.current and table.current.name))
    told = changes(table)
    table.set_rows((Row("a", None), Row("n", 1.0), Row("m", 2.0), Row("c", 9.5)))
    assert told == ["-0..0", "+1..2", "=3..3"]
    assert table.current == Row("c", 9.5)
    assert names <= {"c"}


def test_another_order_keeps_the_marked_row_and_its_place_in_the_view(table: DataTable[Row]) -> None:
    table.select_keys({"b"})
    told = changes(table)
    table.sortByColumn(0, Qt.SortOrder.DescendingOrder)
    assert column(table, 0) == ["c", "b", "a"]
    assert told == ["order"]
    assert table.current == Row("b", 10.0)
    assert table.currentIndex().row() == 1
    table.set_rows((Row("b", 1.0), Row("d", 2.0)))
    assert column(table, 0) == ["d", "b"]
    assert table.current == Row("b", 1.0)


def test_a_filter_hides_and_brings_back_rows_in_their_places(table: DataTable[Row]) -> None:
    table.sortByColumn(0, Qt.SortOrder.AscendingOrder)
    table.set_filter("C")
    assert column(table, 0) == ["c"]
    table.set_filter("")
    assert column(table, 0) == ["a", "b", "c"]


def test_the_texts_of_a_filter_are_made_ahead_and_anew_only_for_rows_that_changed(qtbot: QtBot) -> None:
    """Rule 8: the first key typed finds them made."""
    made: list[str] = []

    def search(row: Row) -> str:
        made.append(row.name)
        return f"{row.name} {row.speed}"

    table: DataTable[Row] = DataTable(COLUMNS, lambda row: row.name, name="Speeds", search=search)
    qtbot.addWidget(table)
    rows = [Row(f"{number}", 1.0) for number in range(500)]
    table.set_rows(rows)
    assert made == []
    table.rows_model.search_texts.make_ahead()
    qtbot.waitUntil(lambda: len(made) == 500)
    table.set_filter("499")
    assert (column(table, 0), len(made)) == (["499"], 500)
    # From then on by itself, and a row that changed is found by what it says now.
    table.set_rows([*rows[:-1], Row("499", 2.0), Row("new", 3.0)])
    qtbot.waitUntil(lambda: made[500:] == ["499", "new"])
    table.set_filter("2.0")
    assert column(table, 0) == ["499"]
    assert len(made) == 502


def test_texts_of_rows_that_are_gone_are_not_kept(table: DataTable[Row]) -> None:
    for number in range(100):
        table.set_rows([Row(f"{number}-{n}", 1.0) for n in range(10)])
        table.set_filter(f"{number}")
        assert table.model().rowCount() == 10
    assert len(table.rows_model.search_texts) <= 40


def test_a_thousand_scattered_changes_are_told_as_one(table: DataTable[Row]) -> None:
    table.set_rows([Row(f"{number}", 1.0) for number in range(2000)])
    table.select_keys({"1000"})
    told = changes(table)
    table.set_rows([Row(f"{number}", 1.0) for number in range(0, 2000, 2)])
    assert told == ["reset"]
    assert table.current == Row("1000", 1.0)


def test_rows_with_the_same_key_are_all_shown(table: DataTable[Row]) -> None:
    table.set_rows((Row("a", 1.0), Row("a", 2.0)))
    assert table.model().rowCount() == 2


def test_columns_fit_what_comes_unless_a_person_sized_them(table: DataTable[Row], qtbot: QtBot) -> None:
    narrow = table.columnWidth(1)
    table.set_rows([Row("a", 123_456_789.0)])
    qtbot.waitUntil(lambda: table.columnWidth(1) > narrow)
    table.horizontalHeader().resizeSection(1, 50)
    table.set_rows([Row("a", 1.0), Row("b", 123_456_789_123.0)])
    qtbot.wait(20)
    assert table.columnWidth(1) == 50
    assert table.columnWidth(0) == table.viewport().width() - 50
