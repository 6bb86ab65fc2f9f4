"""The chat tab's kept conversations: found, gone on with, renamed, given away, brought in and back."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel, QLineEdit, QPushButton, QToolButton

from llama_runner.backends.live import AnswerState
from llama_runner.core.config import load_app_config, save_app_config
from llama_runner.core.paths import create_folders, home_at
from llama_runner.ui.async_slots import is_running
from llama_runner.ui.tabs import Severity
from llama_runner.ui.tabs.chat_care import ChatCare, file_name
from llama_runner.ui.tabs.chat_history import PAGE
from llama_runner.ui.tabs.chat_view import MOST_SHOWN
from llama_runner.ui.widgets.busy import BusyBar
from llama_runner.ui.widgets.undo import UndoStrip
from tests.fakes.metronome import Metronome
from tests.ui.tab_support import open_questions, part, planned, run, stage, until
from tests.ui.test_chat_tab import ENDLESS, Room
from tests.ui.window_support import controls
from tests.unit.chat.exports import chatgpt, write_array
from tests.unit.chat.kept import conversation

TITLES = ("Blue skies", "Red wine", "Green tea")


async def filled(room: Room, *titles: str) -> None:
    """Keep a conversation under each title, the last one newest, and wait until they are listed."""
    for number, title in enumerate(titles, 1):
        await room.stage.workspace.history.put(conversation(number, title, f"About {title.lower()}."))
    refreshed(room)
    await until(lambda: len(room.titles) == len(titles) + 1)


def refreshed(room: Room) -> None:
    part(room.tab, ChatCare, "chat-care").changed.emit()


def undo(room: Room) -> UndoStrip:
    return part(room.tab, UndoStrip, "notice")


def test_what_was_said_is_there_at_the_next_start_and_gone_on_with(home: Path, metronome: Metronome) -> None:
    async def first() -> None:
        async with stage(home) as on:
            room = Room(on)
            room.ask("Which colour?", planned(metronome.url, tokens=4))
            await room.settled()

    async def second() -> None:
        async with stage(home) as on:
            room = Room(on)
            await until(lambda: room.titles == ["New conversation", "Which colour?"])
            room.pick("Which colour?")
            await until(lambda: "w4" in room.text)
            room.ask("Really?", planned(metronome.url, tokens=6))
            await until(lambda: room.text.count("w4") == 2 and "w6" in room.text)
            await until(lambda: not room.snapshot().busy)
            assert room.snapshot().messages[0].text == "Which colour?"
            # The empty one that stood there at first is gone; this one is the newest and has one row.
            await until(lambda: room.titles == ["Which colour?"])
            await on.workspace.chat.close()
            await on.workspace.keeper.close()
            kept = await on.workspace.history.load(room.snapshot().id)
            assert len(kept.turns) == 4

    run(first())
    run(second())


def test_conversations_are_found_by_keyboard_alone(home: Path) -> None:
    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            await filled(room, *TITLES)
            assert room.titles == ["New conversation", "Green tea", "Red wine", "Blue skies"]
            search = part(room.tab, QLineEdit, "chat-search")
            await until(room.tab.isActiveWindow)
            QTest.keySequence(room.tab, "Ctrl+F")
            assert search.hasFocus()
            QTest.keyClicks(search, "about")
            await until(lambda: room.titles == ["Green tea", "Red wine", "Blue skies"])
            QTest.keyClicks(search, " red")
            await until(lambda: room.titles == ["Red wine"])
            QTest.keyClick(search, Qt.Key.Key_Return)
            assert room.list.hasFocus()
            QTest.keyClick(room.list, Qt.Key.Key_Down)
            await until(lambda: "About red wine." in room.text)
            assert room.titles == ["Red wine"]
            tip = str(room.list.model().index(0, 0).data(Qt.ItemDataRole.ToolTipRole))
            assert "About red wine." in tip and "2 messages" in tip

            search.setText("nowhere to be found")
            await until(lambda: [one for one in room.tab.findChildren(QLabel) if "Nothing" in one.text()])
            assert room.titles == []
            search.setFocus()
            QTest.keyClick(search, Qt.Key.Key_Escape)
            await until(lambda: len(room.titles) == 3)
            QTest.keyClick(search, Qt.Key.Key_Escape)
            assert room.list.hasFocus()

    run(scenario())


def test_deleting_what_is_kept_can_be_undone_while_it_streams(home: Path, metronome: Metronome) -> None:
    """U16: the chat being streamed is deleted."""

    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            room.ask("Doomed <b>&", planned(metronome.url, **ENDLESS))
            await room.streaming()
            doomed = room.snapshot().id
            await until(lambda: on.workspace.keeper.is_kept(doomed))
            room.list.setFocus()
            QTest.keyClick(room.list, Qt.Key.Key_Delete)
            await until(lambda: undo(room).isVisible())
            assert open_questions() == []
            await until(lambda: room.titles == ["New conversation"])
            await until(lambda: metronome.load()["in_flight"] == 0)
            assert "Deleted “Doomed <b>&”." in on.shell.said

            undo(room).button.click()
            await until(lambda: "w3" in room.text and "Doomed <b>&" in room.titles)
            assert room.chat.snapshot(doomed).messages[1].state is AnswerState.STOPPED
            assert not undo(room).isVisible()

    run(scenario())


def test_a_private_conversation_is_never_kept_and_asks_before_it_goes(
    home: Path, metronome: Metronome
) -> None:
    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            await until(room.tab.isActiveWindow)
            QTest.keySequence(room.tab, "Ctrl+Shift+N")
            await until(lambda: room.titles == ["Private: New conversation"])
            room.ask("Secret", planned(metronome.url, tokens=4))
            await room.settled()
            assert "private: not kept" in part(room.tab, QLabel, "chat-target").text()
            await until(lambda: room.titles == ["Private: Secret"])
            assert await on.workspace.history.count() == 0
            room.list.setFocus()
            QTest.keyClick(room.list, Qt.Key.Key_Delete)
            await until(open_questions)
            assert "Secret" in open_questions()[0].text()
            open_questions()[0].buttons()[1].click()
            await until(lambda: not open_questions())
            assert room.titles == ["Private: Secret"]
            care = part(room.tab, ChatCare, "chat-care")
            await until(lambda: not is_running(care, "ChatCare._delete"))
            part(room.tab, QPushButton, "chat-delete").click()
            await until(open_questions)
            open_questions()[0].buttons()[0].click()
            await until(lambda: room.titles == ["New conversation"])
            assert not undo(room).isVisible()

    run(scenario())
    for file in (home / "data").glob("history.db*"):
        assert b"Secret" not in file.read_bytes()


def test_nothing_is_kept_where_the_settings_say_so(home: Path, metronome: Metronome) -> None:
    folders = home_at(home)
    create_folders(folders)
    config = load_app_config(folders).value
    chat = config.chat.model_copy(update={"keep_history": False})
    save_app_config(folders, config.model_copy(update={"chat": chat}))

    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            room.ask("Not for the record", planned(metronome.url, tokens=4))
            await room.settled()
            assert await on.workspace.history.count() == 0
            assert room.titles == ["Not for the record"]

    run(scenario())


def test_an_answer_of_another_day_is_asked_for_again(home: Path, metronome: Metronome) -> None:
    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            await filled(room, "Blue skies")
            room.pick("Blue skies")
            await until(lambda: "About blue skies." in room.text)
            # Who answered then is not known any more, and nobody is chosen: told, and nothing is lost.
            room.again.click()
            await until(lambda: on.shell.errors)
            await until(lambda: "About blue skies." in room.text)
            on.shell.point_at(planned(metronome.url, tokens=4))
            room.again.click()
            await until(lambda: "w4" in room.text)
            assert "About blue skies." not in room.text

    run(scenario())


def test_a_conversation_is_renamed(home: Path) -> None:
    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            await filled(room, "Blue skies")
            room.pick("Blue skies")
            await until(lambda: "About blue skies." in room.text)
            await until(room.tab.isActiveWindow)
            QTest.keySequence(room.tab, "F2")
            await until(lambda: [one for one in room.tab.findChildren(QLineEdit) if one.isVisible()][1:])
            line = next(
                one for one in room.tab.findChildren(QLineEdit) if one.placeholderText() == "Blue skies"
            )
            QTest.keyClicks(line, "  Other   <i>name</i> ")
            QTest.keyClick(line, Qt.Key.Key_Return)
            await until(lambda: "Other <i>name</i>" in room.titles)
            assert (await on.workspace.history.page(1))[0].title == "Other <i>name</i>"

    run(scenario())


def test_a_conversation_is_exported_in_the_format_of_its_file(home: Path, metronome: Metronome) -> None:
    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            await filled(room, "Blue skies")
            care = part(room.tab, ChatCare, "chat-care")
            formats = (("a.md", "# Blue skies"), ("a.html", "<!DOCTYPE"), ("a.json", "{"), ("a", "# "))
            for name, begins in formats:
                care.export_to(f"{1:032x}", home / name)
                await until((home / name).is_file)
                assert (home / name).read_text().startswith(begins)
            await until(lambda: len(on.shell.said) == len(formats))
            # A private one too, though it is nowhere else.
            private = room.chat.new_conversation(private=True)
            await room.chat.send(private, "Psst", planned(metronome.url, tokens=2))
            care.export_to(private, home / "p.md")
            await until(lambda: "p.md" in on.shell.said[-1])
            assert "# Psst" in (home / "p.md").read_text()
            care.export_to(f"{1:032x}", home / "no such folder" / "a.md")
            await until(lambda: on.shell.errors)

    run(scenario())


def test_an_export_is_imported_with_progress(home: Path) -> None:
    path = write_array(home / "export.json", (chatgpt(number, 2) for number in range(120)))

    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            care = part(room.tab, ChatCare, "chat-care")
            care.import_from(path)
            assert part(room.tab, BusyBar, "chat-import-progress").isVisible()
            await until(lambda: on.shell.said)
            assert on.shell.said[-1] == "Conversations imported: 120, messages in all: 240."
            await until(lambda: len(room.titles) == 121)
            assert not part(room.tab, BusyBar, "chat-import-progress").isVisible()

            (home / "bad.json").write_text(json.dumps({"a": 1}))
            care.import_from(home / "bad.json")
            await until(lambda: on.shell.errors)
            assert "holds no conversations" in str(on.shell.errors[0])

    run(scenario())


def test_an_import_is_stopped_and_what_came_stays(home: Path) -> None:
    path = write_array(home / "export.json", (chatgpt(number, 20) for number in range(2_000)))

    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            part(room.tab, ChatCare, "chat-care").import_from(path)
            busy = part(room.tab, BusyBar, "chat-import-progress")
            await until(lambda: any("imported" in label.text() for label in busy.findChildren(QLabel)))
            busy.findChildren(QPushButton)[0].click()
            await until(lambda: any("stopped" in said for said in on.shell.said))
            await until(lambda: not busy.isVisible())
            assert 0 < await on.workspace.history.count() < 2_000

    run(scenario())


def test_pages_come_as_the_end_comes_into_sight(home: Path) -> None:
    async def scenario() -> None:
        async with stage(home) as on:
            for number in range(1, PAGE * 2 + 51):
                await on.workspace.history.put(conversation(number, f"q{number}"))
            room = Room(on)
            await until(lambda: len(room.titles) == PAGE + 1)
            room.list.scrollToBottom()
            await until(lambda: len(room.titles) == 2 * PAGE + 1)
            room.list.scrollToBottom()
            await until(lambda: len(room.titles) == 2 * PAGE + 51)
            assert room.titles[-1] == "q1"
            assert room.list.verticalScrollBar().value() > 0

    run(scenario())


def test_of_a_long_conversation_the_end_is_shown_and_the_rest_is_named(home: Path) -> None:
    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            turns = 2 * MOST_SHOWN
            await on.workspace.history.put(conversation(1, *(f"turn {n}." for n in range(turns))))
            refreshed(room)
            await until(lambda: "turn 0." in room.titles)
            room.pick("turn 0.")
            await until(lambda: f"turn {turns - 1}." in room.text)
            await until(lambda: f"turn {turns - MOST_SHOWN}." in room.text)
            assert f"turn {turns - MOST_SHOWN - 1}." not in room.text
            assert room.text.startswith(f"{MOST_SHOWN} earlier messages are kept and not shown here")
            assert len(room.chat.snapshot(f"{1:032x}").messages) == turns

    run(scenario())


def test_a_broken_file_is_told_and_the_chat_goes_on(home: Path, metronome: Metronome) -> None:
    """B1."""
    folders = home_at(home)
    create_folders(folders)
    (folders.data_dir / "history.db").write_bytes(b"no database")

    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            await until(lambda: on.shell.notices)
            severity, said = on.shell.notices[0]
            assert severity is Severity.WARNING and "could not be used" in said
            room.ask("Hello", planned(metronome.url, tokens=4))
            await room.settled()
            assert on.shell.errors == []

    run(scenario())


def test_what_cannot_be_kept_is_told_once(home: Path, metronome: Metronome) -> None:
    """B3, B4: the answers stay in the window."""
    folders = home_at(home)
    create_folders(folders)

    async def scenario() -> None:
        async with stage(home) as on:
            await on.workspace.history.put(conversation(1, "old"))
            await on.workspace.history.close()
        with closing(sqlite3.connect(folders.data_dir / "history.db")) as connection:
            connection.execute("PRAGMA user_version = 999")
        async with stage(home) as on:
            room = Room(on)
            await until(lambda: room.titles[-1:] == ["old"])
            room.ask("Hello", planned(metronome.url, tokens=4))
            await room.settled()
            await until(lambda: on.shell.errors)
            assert "newer version" in str(on.shell.errors[0])
            assert len(on.shell.errors) == 1
            assert "w4" in room.text

    run(scenario())


def test_everything_has_a_name_and_is_reached_by_keyboard(home: Path) -> None:
    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            await filled(room, "Blue skies")
            room.pick("Blue skies")
            await until(lambda: "About blue skies." in room.text)
            room.list.setFocus()
            QTest.keyClick(room.list, Qt.Key.Key_Delete)
            await until(lambda: undo(room).isVisible())
            unnamed = [one for one in controls(room.tab) if not one.accessibleName() and not word(one)]
            assert unnamed == []
            part(room.tab, QPushButton, "chat-new").setFocus()
            reached: list[Any] = []
            while (focus := room.tab.window().focusWidget()) not in reached:
                reached.append(focus)
                QTest.keyClick(focus, Qt.Key.Key_Tab)
            names = [one.objectName() for one in reached if one is not None]
            wanted = ["chat-new", "chat-delete", "chat-more", "chat-search", "chat-list", "undo"]
            assert [name for name in names if name in wanted] == wanted
            assert part(room.tab, QToolButton, "chat-more").menu().actions()

    run(scenario())


def word(control: Any) -> str:
    return str(control.text()) if hasattr(control, "text") else ""


def test_files_are_named_after_titles_without_odd_signs() -> None:
    assert file_name('Is 1/2 < "3"? ../../etc') == "Is 1 2 3 .. .. etc"
    assert file_name("..") == "conversation"
    assert len(file_name("x" * 500)) == 60
