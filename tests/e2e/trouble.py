"""What a person meets when something is broken: settings, engine, model files, ports, servers."""

import asyncio
import signal
import socket
from dataclasses import replace
from typing import Any, Final

import psutil
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QDialog, QLabel, QListWidget, QPushButton, QTextBrowser

from llama_runner.net.ports import pick_free_port
from llama_runner.ui.main_window import MainWindow
from tests.e2e.hands import Hands, text_of
from tests.fakes.metronome import Metronome, start_metronome
from tests.fakes.metronome_plan import Plan

Report = dict[str, Any]

MODELS: Final = "Model files"
SERVERS: Final = "Servers and models"


async def broken_settings(hands: Hands, window: MainWindow, report: Report) -> None:
    """C1 to C5: read what the window says, look at all notices, change one setting and save it."""
    await _service_runs(hands)
    report["shown"] = _newest(hands)
    hands.picture("broken-settings")
    assert window.workspace is not None
    report["settings"] = window.workspace.settings.model_dump(mode="json")
    window.open_settings()
    dialog = await _dialog(hands, "Settings")
    _go_to_section(hands, dialog, "Stress")
    await hands.write("Concurrency", "9")
    hands.picture("settings", of=dialog)
    report["settings_note"] = [label.text() for label in dialog.findChildren(QLabel) if label.isVisible()]
    save = next(b for b in dialog.findChildren(QPushButton) if b.text().replace("&", "") == "Save")
    report["can_save"] = save.isEnabled()
    if save.isEnabled():
        save.click()
    else:
        dialog.reject()
    await hands.until(lambda: not _open_dialogs(), "the settings are closed")
    report["after"] = window.workspace.settings.stress.concurrency
    report["notices"] = [[n.severity.value, n.message, n.details] for n in window.notices.all]


def _go_to_section(hands: Hands, dialog: QDialog, name: str) -> None:
    sections = hands.find(QListWidget, "Sections", within=dialog)
    names = [sections.item(row).text() for row in range(sections.count())]
    sections.setCurrentRow(names.index(name))


async def no_engine(hands: Hands, window: MainWindow, report: Report) -> None:
    """The engine is missing or no engine: what the Models tab says, and what comes of Load."""
    await hands.tab(2)
    await hands.until(lambda: bool(hands.cells(MODELS)), "the models are listed")
    report["engine"] = hands.find(QLabel, "Engine in use").toolTip()
    hands.picture("no-engine")
    await hands.choose_row(MODELS, "alpha")
    await hands.until(
        lambda: "llama-server" in _shown(hands, "What loading it would mean"), "the plan says so"
    )
    await hands.click("Load")
    await hands.until(lambda: "was not loaded" in _outcome(hands), "the failure is told")
    report["after_load"] = _newest(hands)
    hands.picture("no-engine-load")
    report["outcome"] = _outcome(hands)
    await hands.until(lambda: hands.find(QPushButton, "Load").isEnabled(), "loading can be tried again")


async def bad_models(hands: Hands, window: MainWindow, report: Report) -> None:
    """G1 to G3, G17, F2: every bad file chosen, one that the engine refuses loaded, then a good one."""
    await hands.tab(2)
    await hands.until(lambda: bool(hands.cells(MODELS)), "the models are listed")
    report["table"] = {row[1]: row[0] for row in hands.cells(MODELS)}
    said = report["said"] = {}
    for name in report["table"]:
        await hands.choose_row(MODELS, name)
        said[name] = _wrong(hands) if "unusable" in report["table"][name] else ""
        if "unusable" in report["table"][name]:
            assert not hands.find(QPushButton, "Load").isEnabled(), name
    hands.picture("bad-models")
    await hands.choose_row(MODELS, "refused")
    await hands.click("Load")

    def failed() -> bool:
        row = hands.row_of(MODELS, "refused")
        return row is not None and "failed" in hands.cells(MODELS)[row][0]

    await hands.until(failed, "the engine refuses the model")
    await hands.until(lambda: "was not loaded" in _outcome(hands), "the failure is told")
    report["refused"] = _newest(hands)
    report["outcome"] = _outcome(hands)
    report["refused_detail"] = _wrong(hands)
    hands.picture("refused-model")
    await hands.choose_row(MODELS, "good")
    await hands.click("Load")
    await hands.until(lambda: window.target is not None, "the good model is ready")


def _wrong(hands: Hands) -> str:
    """What the card of the chosen model says is wrong."""
    return text_of(hands.find(QLabel, "What is wrong with the chosen model"))


async def busy_port(hands: Hands, window: MainWindow, report: Report) -> None:
    """F12: another program has the control port."""
    await _service_runs(hands)
    await hands.until(lambda: bool(window.notices.all), "the notice")
    report["shown"] = _newest(hands)
    assert window.workspace is not None
    report["url"] = window.workspace.service.snapshot.url
    hands.picture("busy-port")


async def bad_servers(hands: Hands, window: MainWindow, report: Report) -> None:
    """Servers that are not there, never answer, break off, end in the middle of an answer, or are gone."""
    cut = replace(Plan(tokens=12, gap_ms=5), cut_at=5).model_id()
    slow = Plan(tokens=400, gap_ms=25).model_id()
    metronome = await asyncio.to_thread(start_metronome, models=(cut, slow))
    try:
        # Accepts in the system's queue and says nothing.
        with socket.create_server(("127.0.0.1", 0)) as silent:
            await _bad_addresses(hands, report, silent.getsockname()[1])
        await _dying_server(hands, window, report, metronome, cut, slow)
    finally:
        await asyncio.to_thread(_end, metronome)


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


async def _bad_addresses(hands: Hands, report: Report, silent: int) -> None:
    await hands.tab(1)
    said = report["added"] = {}
    for kind, address in (("closed", _url(pick_free_port())), ("silent", _url(silent))):
        await _add(hands, address)
        await hands.until(lambda: _status(hands, address) == "offline", f"the {kind} server is listed")  # noqa: B023
        await hands.until(lambda: not _open_dialogs(), "the dialog is closed")
        await hands.choose_row(SERVERS, address.removeprefix("http://"))
        said[kind] = text_of(hands.find(QLabel, "What is wrong with the chosen server"))
        hands.picture(f"server-{kind}")
    await _add(hands, "ftp://nowhere")
    await hands.until(lambda: bool(_shown(hands, "Why it did not work")), "the reason")
    said["ftp"] = _shown(hands, "Why it did not work")
    hands.picture("server-ftp", of=await _dialog(hands, "Add a server"))
    await hands.press(Qt.Key.Key_Escape)
    await hands.until(lambda: not _open_dialogs(), "the dialog is closed")


async def _add(hands: Hands, address: str) -> None:
    await hands.click("Add a server…")
    dialog = await _dialog(hands, "Add a server")
    await hands.until(dialog.isActiveWindow, "the dialog has the keyboard")
    await hands.write("Address of a server to add", address)
    await hands.press(Qt.Key.Key_Return)


def _status(hands: Hands, address: str) -> str:
    row = hands.row_of(SERVERS, address.removeprefix("http://"))
    return "" if row is None else hands.cells(SERVERS)[row][1].partition(" ")[2]


async def _dying_server(
    hands: Hands, window: MainWindow, report: Report, metronome: Metronome, cut: str, slow: str
) -> None:
    await _add(hands, metronome.url)
    await hands.until(lambda: _status(hands, metronome.url) == "online", "the metronome is listed")
    # Before that it has the keyboard, and keys for the window are lost.
    await hands.until(lambda: not _open_dialogs(), "the dialog is closed")
    said = report["chat"] = {}
    for kind, model in (("cut", cut), ("killed", slow), ("gone", slow)):
        await hands.tab(1)
        assert window.workspace is not None
        record = window.workspace.registry.at(metronome.url)
        assert record is not None
        window.set_target(record.id, model)
        await hands.tab(3)
        await hands.write("chat-input", f"Count, {kind}.")
        await hands.press(Qt.Key.Key_Return)
        if kind == "killed":
            await hands.until(lambda: "w9" in _transcript(hands), "some of the answer")
            metronome.process.send_signal(signal.SIGKILL)
        await hands.until(lambda: _has_failed(_answer_to(hands, kind)), f"the answer that is {kind} is over")  # noqa: B023
        await hands.until(lambda: _retry(hands).isEnabled(), "it can be asked again")
        said[kind] = _answer_to(hands, kind)
        report.setdefault("retry", {})[kind] = _retry(hands).text()
        if kind != "cut":
            await hands.until(
                lambda: "offline" in _shown(hands, "State of the chosen server"), "the header says so too"
            )
        hands.picture(f"chat-{kind}")


def _transcript(hands: Hands) -> str:
    return text_of(hands.find(QTextBrowser, "chat-transcript"))


def _answer_to(hands: Hands, kind: str) -> str:
    """What stands below the newest question of this kind."""
    return _transcript(hands).partition(f"Count, {kind}.")[2]


def _has_failed(answer: str) -> bool:
    return "Incomplete:" in answer or "Error:" in answer


def _retry(hands: Hands) -> QPushButton:
    return hands.find(QPushButton, "Retry")


def _end(metronome: Metronome) -> None:
    if psutil.pid_exists(metronome.process.pid):
        metronome.close()


async def _service_runs(hands: Hands) -> None:
    await hands.until(
        lambda: "running" in text_of(hands.find(QLabel, "State of the service")), "the service runs"
    )


def _newest(hands: Hands) -> str:
    """What the strip says now; empty when it is not there."""
    return f"{_shown(hands, 'Newest notice')} {_shown(hands, 'What to do')}".strip()


def _shown(hands: Hands, name: str) -> str:
    try:
        return text_of(hands.find(QLabel, name))
    except LookupError:
        return ""


def _outcome(hands: Hands) -> str:
    return text_of(hands.find(QLabel, "Outcome of the last action"))


def _open_dialogs() -> list[QDialog]:
    return [w for w in QApplication.topLevelWidgets() if isinstance(w, QDialog) and w.isVisible()]


async def _dialog(hands: Hands, title: str) -> QDialog:
    await hands.until(lambda: any(d.windowTitle() == title for d in _open_dialogs()), title)
    return next(d for d in _open_dialogs() if d.windowTitle() == title)


TROUBLES: Final = (broken_settings, no_engine, bad_models, busy_port, bad_servers)
