"""The chat tab with the real manager and the metronome."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QMimeData, Qt
from PySide6.QtGui import QGuiApplication, QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QComboBox, QLabel, QLineEdit, QListView, QPlainTextEdit, QPushButton, QWidget

from llama_runner.backends.base import Endpoint, Engine, Target
from llama_runner.backends.live import AnswerState
from llama_runner.backends.request import Role
from llama_runner.chat.conversation import ConversationSnapshot, TurnView
from llama_runner.core.errors import UsageError
from llama_runner.core.trace import RequestMetrics, TokensSource
from llama_runner.ui.tabs.chat import ChatTab
from llama_runner.ui.tabs.chat_view import ConversationView
from llama_runner.ui.theme import ThemeMode
from llama_runner.ui.widgets.prompt_edit import ASK_ABOVE_CHARS, MAX_PASTE_CHARS
from llama_runner.ui.widgets.sampling import SamplingForm
from llama_runner.ui.widgets.transcript import TranscriptView
from tests.fakes.metronome import Metronome
from tests.fakes.metronome_plan import Plan
from tests.ui.tab_support import Stage, open_questions, part, planned, run, stage, until, word_on
from tests.ui.window_support import controls

# Longer than any test waits: an answer that streams until somebody stops it.
ENDLESS: dict[str, Any] = {"tokens": 20_000, "gap_ms": 20}
MARKDOWN = "Some **bold** text.\n\n```python\nprint(1)\n```\n\n- one\n- two\n\n"


class Room:
    """A chat tab and its parts."""

    def __init__(self, on: Stage) -> None:
        self.stage = on
        self.chat = on.workspace.chat
        self.tab = ChatTab(on.workspace, on.shell)
        self.input = part(self.tab, QPlainTextEdit, "chat-input")
        self.send = part(self.tab, QPushButton, "chat-send")
        self.stop = part(self.tab, QPushButton, "chat-stop")
        self.again = part(self.tab, QPushButton, "chat-regenerate")
        self.transcript = part(self.tab, TranscriptView, "chat-transcript")
        self.list = part(self.tab, QListView, "chat-list")
        self.status = part(self.tab, QLabel, "chat-status")
        on.show(self.tab)

    @property
    def text(self) -> str:
        return self.transcript.toPlainText()

    @property
    def titles(self) -> list[str]:
        model = self.list.model()
        return [str(model.index(row, 0).data()) for row in range(model.rowCount())]

    def pick(self, title: str) -> None:
        """Choose a conversation in the list."""
        self.list.setCurrentIndex(self.list.model().index(self.titles.index(title), 0))

    def snapshot(self, number: int = -1) -> ConversationSnapshot:
        return self.chat.snapshot(self.chat.conversations[number])

    def ask(self, text: str, target: Target) -> None:
        self.stage.shell.point_at(target)
        self.input.setPlainText(text)
        self.send.click()

    async def streaming(self) -> None:
        await until(lambda: self.stop.isVisible() and "w3" in self.text)

    async def settled(self) -> None:
        """The answer has ended and stands there in its final form, with its figures."""
        await until(lambda: self.send.isVisible() and self.text.rstrip().endswith(("s", ".")))
        await until(lambda: "total" in self.text.rsplit("\n", 1)[-1] or "Error" in self.text)


def test_an_answer_streams_is_rendered_once_and_measured(home: Path, metronome: Metronome) -> None:
    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            target = planned(metronome.url, "tester", prefill_ms=100, tokens=20, gap_ms=10, word=MARKDOWN)
            room.ask("What is **this**?\nTell me more.", target)
            await until(lambda: "Some **bold** text." in room.text)
            await room.settled()
            assert room.text.startswith("You\nWhat is **this**?\nTell me more.\ntester\n")
            assert "**bold**" not in room.text.split("tester", 1)[1]
            assert "print(1)" in room.text and "font-weight:700" in room.transcript.toHtml()
            metrics = room.snapshot().messages[-1].metrics
            note = room.text.rsplit("\n", 1)[-1]
            assert note.startswith("20 tokens (server's count) · first token ") and "decode" in note
            # How exact it is, tests/integration says: here the machine may be busy.
            assert metrics.ttft_s is not None and metrics.ttft_s >= 0.1
            assert room.titles == ["What is **this**?"]

    run(scenario())


def test_tokens_that_are_counted_after_the_end_reach_the_figures(home: Path, metronome: Metronome) -> None:
    """A4: the server's tokenizer counts what the server did not."""

    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            target = planned(metronome.url, tokens=12, tokens_per_chunk=3, usage="none")
            endpoint = replace(target.endpoint, engine=Engine.LLAMA_SERVER)
            room.ask("How many?", replace(target, endpoint=endpoint))
            await until(lambda: "12 tokens (server's tokenizer) · first token " in room.text)
            await room.settled()
            assert "chunks" not in room.text

    run(scenario())


def test_figures_that_change_after_the_answer_stands_there_are_shown(home: Path) -> None:
    def snapshot(revision: int, metrics: RequestMetrics) -> ConversationSnapshot:
        answer = TurnView(Role.ASSISTANT, "Twelve.", metrics=metrics, label="m", revision=revision)
        return ConversationSnapshot("c", "", (TurnView(Role.USER, "How many?"), answer), False, revision)

    async def scenario() -> None:
        async with stage(home) as on:
            transcript = TranscriptView(on.shell.theme)
            view = ConversationView(transcript)
            view.show(snapshot(1, RequestMetrics(output_tokens=3, tokens_source=TokensSource.CHUNKS)))
            await until(lambda: "3 tokens (chunks, not tokens)" in transcript.toPlainText())
            counted = RequestMetrics(output_tokens=12, tokens_source=TokensSource.SERVER_TOKENIZER)
            view.show(snapshot(2, counted))
            await until(lambda: "12 tokens (server's tokenizer)" in transcript.toPlainText())
            assert "chunks" not in transcript.toPlainText()
            transcript.deleteLater()

    run(scenario())


def test_what_could_not_be_sent_stands_with_the_figures(home: Path, metronome: Metronome) -> None:
    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            (box,) = part(room.tab, SamplingForm, "chat-options").findChildren(QComboBox)
            box.setCurrentText("off")
            room.ask("Quick!", planned(metronome.url, tokens=4))
            await room.settled()
            note = room.text.rsplit("\n", 1)[-1]
            assert note.startswith("Not sent, as this server has no such option: thinking. 4 tokens")

    run(scenario())


def test_escape_stops_and_keeps_what_came(home: Path, metronome: Metronome) -> None:
    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            room.ask("Go on", planned(metronome.url, **ENDLESS))
            await room.streaming()
            assert room.status.text() == "Answering" and room.titles == ["… Go on"]
            QTest.keyClick(room.tab, Qt.Key.Key_Escape)
            await until(lambda: room.send.isVisible() and "Stopped." in room.text)
            assert room.snapshot().messages[-1].state is AnswerState.STOPPED
            assert "w1 w2 w3" in room.text and room.titles == ["Go on"]
            await until(lambda: metronome.load()["in_flight"] == 0)

    run(scenario())


def test_enter_sends_and_shift_enter_begins_a_line(home: Path, metronome: Metronome) -> None:
    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            on.shell.point_at(planned(metronome.url, tokens=8))
            QTest.keyClicks(room.input, "one")
            QTest.keyClick(room.input, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
            QTest.keyClicks(room.input, "two")
            assert room.input.toPlainText() == "one\ntwo"
            QTest.keyClick(room.input, Qt.Key.Key_Return)
            assert room.input.toPlainText() == ""
            await room.settled()
            assert room.snapshot().messages[0].text == "one\ntwo"

    run(scenario())


def test_nothing_is_sent_without_a_model_or_without_words(home: Path, metronome: Metronome) -> None:
    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            assert not room.send.isEnabled() and "Choose a model" in room.send.toolTip()
            room.input.setPlainText("Hello")
            QTest.keyClick(room.input, Qt.Key.Key_Return)
            assert room.input.toPlainText() == "Hello" and on.shell.said == ["Choose a model first."]
            for word, key in (("Load a model", "models"), ("Find servers", "discovery")):
                next(b for b in room.tab.findChildren(QPushButton) if b.text() == word).click()
                assert on.shell.opened[-1] == key
            on.shell.point_at(planned(metronome.url))
            assert room.send.isEnabled()
            room.input.setPlainText("  \n ")
            assert not room.send.isEnabled()
            assert not any(room.chat.snapshot(one).messages for one in room.chat.conversations)

    run(scenario())


def test_what_is_pasted_is_plain_text(home: Path) -> None:
    """U13: rich text, a picture, and more than anybody types."""

    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            rich = QMimeData()
            rich.setHtml("<b>bold</b><img src='http://127.0.0.1:9/x.png'>")
            rich.setText("bold")
            room.input.insertFromMimeData(rich)
            assert room.input.toPlainText() == "bold"
            picture = QMimeData()
            picture.setImageData(QImage(4, 4, QImage.Format.Format_RGB32))
            assert not room.input.canInsertFromMimeData(picture)
            long = QMimeData()
            long.setText("line\n" * (MAX_PASTE_CHARS // 5 + 10))
            room.input.setPlainText("")
            for answer, expected in (("Cancel", 0), ("Insert", MAX_PASTE_CHARS)):
                room.input.insertFromMimeData(long)
                await until(open_questions)
                question = open_questions()[0]
                assert "1,000,000" in question.text() and "1,000,050" in question.text()
                next(b for b in question.buttons() if answer in b.text()).click()
                await until(lambda: not open_questions())
                await until(lambda: len(room.input.toPlainText()) == expected)  # noqa: B023
            assert ASK_ABOVE_CHARS < MAX_PASTE_CHARS
            room.input.clear()

    run(scenario())


def test_fast_clicks_send_one_request_and_stop_it(home: Path, metronome: Metronome) -> None:
    """U16: whatever is clicked how often, there is one request, and it ends."""

    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            for round_number in range(4):
                room.ask("Quick", planned(metronome.url, id=f"fast-{round_number}", **ENDLESS))
                for _ in range(5):
                    room.send.click()
                    QTest.keyClick(room.input, Qt.Key.Key_Return)
                    room.stop.click()
                await until(room.stop.isVisible)
                for _ in range(5):
                    room.stop.click()
                await until(room.send.isVisible)
                assert room.snapshot().messages[-1].state is AnswerState.STOPPED
                assert len(room.snapshot().messages) == 2 * (round_number + 1)
            await until(lambda: metronome.load()["in_flight"] == 0)
            assert on.shell.errors == []

    run(scenario())


@pytest.mark.parametrize(("fault", "word"), [({"error_at": 5}, "Error:"), ({"cut_at": 5}, "Incomplete:")])
def test_a_broken_answer_keeps_its_text_and_can_be_asked_again(
    home: Path, metronome: Metronome, fault: dict[str, Any], word: str
) -> None:
    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            room.ask("Try", planned(metronome.url, "shaky", tokens=50, **fault))
            await until(lambda: word in room.text)
            error = room.snapshot().messages[-1].error
            assert error is not None and error.message in room.text and error.hint in room.text
            await until(lambda: room.again.text() == "Retry" and room.again.isEnabled())
            assert "w1 w2 w3 w4 w5" in room.text
            on.shell.point_at(planned(metronome.url, "steady", tokens=6, gap_ms=1))
            room.again.click()
            await until(lambda: "steady" in room.text and "w6" in room.text and "total" in room.text)
            assert word not in room.text and "shaky" not in room.text and "w7" not in room.text
            await until(lambda: room.again.text() == "Regenerate")
            assert len(room.snapshot().messages) == 2

    run(scenario())


def test_an_unreachable_server_is_told_under_the_question(home: Path) -> None:
    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            room.ask("Anybody?", planned("http://127.0.0.1:9", "nobody"))
            await until(lambda: "Error:" in room.text)
            assert "127.0.0.1:9" in room.text.rsplit("\n", 1)[-1]
            await until(room.again.isEnabled)

    run(scenario())


def test_reading_a_long_prompt_shows_how_far_it_is(home: Path, metronome: Metronome) -> None:
    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            slow = Plan(prefill_ms=60_000, progress=200).model_id()
            room.ask("Read", Target(Endpoint(metronome.url, Engine.LLAMA_SERVER), slow, "reader"))
            await until(lambda: room.status.text() == "Waiting for the first token")
            await until(lambda: room.status.text() == "Reading the prompt")
            room.stop.click()
            await until(lambda: room.send.isVisible() and "Stopped." in room.text)
            assert room.status.text() == ""

    run(scenario())


def test_conversations_can_be_switched_while_one_streams(home: Path, metronome: Metronome) -> None:
    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            room.ask("First", planned(metronome.url, "one", **ENDLESS))
            await room.streaming()
            room.input.setPlainText("a draft")
            QTest.keySequence(room.tab, "Ctrl+N")
            assert room.titles == ["New conversation", "… First"] and room.send.isVisible()
            assert room.input.toPlainText() == ""
            room.ask("Second", planned(metronome.url, "two", tokens=6))
            await room.settled()
            assert "First" not in room.text and room.snapshot(0).busy
            room.pick("… First")
            assert room.input.toPlainText() == "a draft" and room.stop.isVisible()
            await until(lambda: "w20" in room.text)
            room.stop.click()
            await until(lambda: "Stopped." in room.text)
            room.pick("Second")
            await room.settled()
            assert room.text.startswith("You\nSecond\ntwo\n")
            assert room.text.count("w6") == 1 and "Stopped" not in room.text

    run(scenario())


def test_the_theme_switches_in_the_middle_of_a_stream(home: Path, metronome: Metronome) -> None:
    """U16: nothing is lost, nothing appears twice."""

    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            room.ask("Colours", planned(metronome.url, "painter", tokens=60, gap_ms=5, reasoning=20))
            for mode in (ThemeMode.DARK, ThemeMode.LIGHT, ThemeMode.DARK):
                await room.streaming()
                on.shell.theme.set_mode(mode)
            await room.settled()
            words = [word for word in room.text.split() if word[0] == "w" and word[1:].isdigit()]
            assert words == [f"w{number}" for number in range(1, 61)]

    run(scenario())


def test_closing_in_the_middle_of_a_stream_leaves_nothing(home: Path, metronome: Metronome) -> None:
    """U16: the leak guard sees the tasks, the metronome the connection."""

    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            room.ask("Left alone", planned(metronome.url, **ENDLESS))
            await room.streaming()

    run(scenario())
    assert metronome.load()["in_flight"] == 0


def test_a_hidden_tab_reads_nothing_and_catches_up(home: Path, metronome: Metronome) -> None:
    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            room.ask("Away", planned(metronome.url, tokens=30, gap_ms=10))
            await room.streaming()
            room.tab.hide()
            seen = room.text
            await until(lambda: not room.snapshot().busy)
            assert room.text == seen
            room.tab.show()
            await room.settled()
            assert "w30" in room.text

    run(scenario())


def test_the_view_changes_per_look_and_not_per_token(home: Path, metronome: Metronome) -> None:
    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            changes: list[None] = []
            room.transcript.document().contentsChanged.connect(lambda: changes.append(None))
            room.ask("Fast", planned(metronome.url, tokens=1000, gap_ms=1))
            await room.settled()
            assert room.snapshot().messages[-1].metrics.output_tokens == 1000
            # One second at 25 looks, and the few of beginning and end.
            assert len(changes) < 60

    run(scenario())


def test_names_and_titles_with_markup_are_plain_everywhere(home: Path, metronome: Metronome) -> None:
    """U15: markup, an ampersand, format characters, controls, and ten thousand letters."""
    name = "<b>x</b> & %s {} \x1b[31m‮" + "y" * 10_000

    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            room.ask(name, planned(metronome.url, name, tokens=6))
            await room.settled()
            label = part(room.tab, QLabel, "chat-target")
            assert label.textFormat() is Qt.TextFormat.PlainText
            assert "<b>x</b> & %s {} ␛[31m⟨U+202E⟩" in label.text() and len(label.text()) < 300
            assert room.titles[0].startswith("<b>x</b> & %s {} ␛[31m")
            assert "<b>x</b> & %s {} ␛[31m⟨U+202E⟩yyy" in room.text
            assert room.tab.minimumSizeHint().width() < 800

    run(scenario())


def test_options_are_checked_beside_the_field_and_sent(home: Path, metronome: Metronome) -> None:
    """U17: what is no number cannot be sent; empty leaves it to the server."""

    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            on.shell.point_at(planned(metronome.url, id="optioned", tokens=6))
            fields = {f.accessibleName(): f for f in room.tab.findChildren(QLineEdit)}
            room.input.setPlainText("Hello")
            fields["Temperature"].setText("1e9")
            assert not room.send.isEnabled()
            fields["Temperature"].setText("0,5")
            fields["Seed"].setText("7")
            assert room.send.isEnabled()
            part(room.tab, QPlainTextEdit, "chat-system").setPlainText("Be brief.")
            room.send.click()
            await room.settled()
            body = metronome.last("optioned").body
            assert body["temperature"] == 0.5 and body["seed"] == 7
            assert "top_p" not in body and "max_tokens" not in body
            assert body["messages"] == [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hello"},
            ]

    run(scenario())


def test_the_answer_is_copied_as_it_came(home: Path, metronome: Metronome) -> None:
    """U14: Markdown as written, controls visible."""

    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            room.ask("Copy", planned(metronome.url, tokens=1, word="**bold**\u202e "))
            await room.settled()
            part(room.tab, QPushButton, "chat-copy").click()
            assert QGuiApplication.clipboard().text() == "**bold**⟨U+202E⟩ "

    run(scenario())


def test_a_message_that_was_refused_comes_back(home: Path, metronome: Metronome) -> None:
    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            on.shell.point_at(planned(metronome.url))
            room.input.setPlainText("Keep me")
            await room.chat.close()
            room.send.click()
            await until(lambda: on.shell.errors)
            assert isinstance(on.shell.errors[0], UsageError) and room.input.toPlainText() == "Keep me"

    run(scenario())


def test_the_keyboard_reaches_everything_and_everything_has_a_name(home: Path, metronome: Metronome) -> None:
    async def scenario() -> None:
        async with stage(home) as on:
            room = Room(on)
            room.ask("Hello", planned(metronome.url, tokens=6))
            await room.settled()
            room.input.setPlainText("more")
            assert [w for w in controls(room.tab) if not w.accessibleName() and not word_on(w)] == []
            room.list.setFocus()
            reached: list[QWidget | None] = []
            while (focus := room.tab.window().focusWidget()) not in reached:
                reached.append(focus)
                QTest.keyClick(focus, Qt.Key.Key_Tab)
            names = [w.objectName() for w in reached if w is not None]
            wanted = [
                "chat-list",
                "chat-transcript",
                "chat-regenerate",
                "chat-copy",
                "chat-input",
                "chat-send",
            ]
            assert [name for name in names if name in wanted] == wanted
            assert "chat-new" in names

    run(scenario())
