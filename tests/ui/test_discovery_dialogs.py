"""What the discovery tab asks before it does something, and what comes of yes and no."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QComboBox, QDialog, QLabel, QLineEdit, QListWidget, QPushButton, QWidget

from llama_runner.core.config import load_app_config
from llama_runner.core.paths import home_at
from llama_runner.discovery.networks import Interface, ScanPlan
from llama_runner.discovery.registry import ServerStatus
from llama_runner.ui.dialogs.scan import ScanDialog
from llama_runner.ui.widgets.label import PlainLabel
from tests.fakes.metronome import start_metronome
from tests.ui.tab_support import Stage, open_questions, until, word_on
from tests.ui.test_discovery_tab import (
    add,
    by_name,
    dialog_of,
    lan_server,
    put,
    quiet,
    records,
    table_of,
    use_tab,
)
from tests.ui.window_support import cells, controls, labels, press

Work = Callable[[Stage, QWidget], Awaitable[None]]

NETWORKS = (Interface("eth0", "10.1.2.3", "10.1.2.0/24"), Interface("wlan0", "192.168.7.9", "192.168.7.0/24"))
MEMORY = "Memory, until the program ends"
FILE = "A file that only you can read, not encrypted"


def answer(word: str) -> None:
    """Press this button of the question that is open."""
    box = open_questions()[0]
    next(b for b in box.buttons() if b.text().replace("&", "") == word).click()


def scan_dialog(room: Stage, tab: QWidget) -> tuple[ScanDialog, list[ScanPlan]]:
    dialog = ScanDialog(room.workspace, tab, interfaces=lambda: NETWORKS)
    plans: list[ScanPlan] = []
    dialog.planned.connect(plans.append)
    dialog.open()
    return dialog, plans


def said(dialog: QDialog, name: str) -> str:
    label = by_name(dialog, PlainLabel, name)
    return label.text() if label.isVisible() else ""


# --- scanning a network ------------------------------------------------------------------------------------


def test_a_network_scan_says_in_numbers_what_it_will_do_before_it_does_it(home: Path) -> None:
    """R10: interface, network, host count, ports; nothing is sent before the yes."""

    async def work(room: Stage, tab: QWidget) -> None:
        dialog, plans = scan_dialog(room, tab)
        listed = by_name(dialog, QListWidget, "Networks of this computer")
        await until(lambda: listed.count() == 2)
        assert listed.item(0).text() == "eth0: 10.1.2.0/24, this computer is 10.1.2.3"
        numbers = said(dialog, "What the scan will do")
        assert numbers.startswith("Tries 16 ports on 254 hosts: 4,064 connects, at most 256 at a time")
        assert "No key is sent" in numbers
        by_name(dialog, QLineEdit, "Ports").setText("8080 11434")
        by_name(dialog, QLineEdit, "Single hosts").setText("fd00::5, nas.local")
        listed.item(0).setCheckState(Qt.CheckState.Unchecked)
        assert said(dialog, "What the scan will do").startswith("Tries 2 ports on 2 hosts: 4 connects")
        assert plans == [] and not room.workspace.discovery.scanning
        press(dialog, "Scan")
        await until(lambda: plans)
        assert plans[0].hosts == ("fd00::5", "nas.local") and plans[0].ports == (8080, 11434)

    use_tab(home, work)


REFUSED = (
    ("Other networks", "0.0.0.0/0", "not a private network"),
    ("Other networks", "10.0.0.0/8", "too many"),
    ("Other networks", "8.8.8.0/24", "not a private network"),
    ("Other networks", "::/0", "not a private network"),
    ("Other networks", "192.168.1.5/33", "is not a network"),
    ("Single hosts", "http://evil\\@127.0.0.1", "characters in it that no address has"),
    ("Ports", "8080, \uff19\uff19", "is not a port"),
    ("Ports", "70000", "not a port"),
    ("Ports", "", "no port"),
    ("Never scan", "everything", "discovery.never_scan"),
    ("Never scan", "10.1.0.0/16", "never scanned"),
)


def test_d17_what_must_not_be_scanned_is_refused_beside_the_fields(home: Path) -> None:
    """D17, U17: told while it is typed; Scan cannot be pressed."""

    async def work(room: Stage, tab: QWidget) -> None:
        dialog, plans = scan_dialog(room, tab)
        await until(lambda: by_name(dialog, QListWidget, "Networks of this computer").count() == 2)
        scan = by_name(dialog, QPushButton, "Scan")
        for field, text, reason in REFUSED:
            line = by_name(dialog, QLineEdit, field)
            before = line.text()
            line.setText(text)
            assert reason in said(dialog, "Why it cannot be scanned"), (field, text)
            assert not scan.isEnabled(), (field, text)
            line.setText(before)
            assert scan.isEnabled()
        by_name(dialog, QListWidget, "Networks of this computer").item(0).setCheckState(
            Qt.CheckState.Unchecked
        )
        assert "Nothing is chosen yet." in said(dialog, "Why it cannot be scanned")
        assert plans == []

    use_tab(home, work)


def test_what_is_never_to_be_scanned_is_kept_and_left_out(home: Path) -> None:
    """R10: the "never again" list."""

    async def work(room: Stage, tab: QWidget) -> None:
        dialog, plans = scan_dialog(room, tab)
        await until(lambda: by_name(dialog, QListWidget, "Networks of this computer").count() == 2)
        by_name(dialog, QLineEdit, "Never scan").setText("10.1.2.128/25, 10.1.2.1")
        assert "on 126 hosts" in said(dialog, "What the scan will do")
        press(dialog, "Scan")
        await until(lambda: plans)
        assert "10.1.2.200" not in plans[0].hosts and "10.1.2.1" not in plans[0].hosts
        assert room.workspace.settings.discovery.never_scan == ("10.1.2.128/25", "10.1.2.1")

    use_tab(home, work)
    saved = load_app_config(home_at(home)).value
    assert saved.discovery.never_scan == ("10.1.2.128/25", "10.1.2.1")


# --- loading -----------------------------------------------------------------------------------------------


def test_a_model_is_loaded_and_unloaded_where_its_server_can(home: Path) -> None:
    metronome = start_metronome(engine="ollama", models=("alpha", "beta"))

    async def work(room: Stage, tab: QWidget) -> None:
        await add(tab, metronome.url)
        table = table_of(tab)
        await until(lambda: table.model().rowCount() == 2)
        await quiet(tab)
        table.selectRow(0)
        loaded = [c.title for c in table.rows_model.columns].index("In memory")
        first = cells(table)[0][loaded]
        for _ in range(2):
            word, result = ("Unload", "no") if cells(table)[0][loaded] == "yes" else ("Load", "yes")
            await until(lambda: by_name(tab, QPushButton, word).isVisible())  # noqa: B023
            press(tab, word)
            await until(lambda: cells(table)[0][loaded] == result)  # noqa: B023
            await quiet(tab)
        assert cells(table)[0][loaded] == first
        assert room.shell.errors == []

    try:
        use_tab(home, work)
    finally:
        metronome.close()


def test_loading_on_another_computer_says_what_it_does_there_first(home: Path) -> None:
    async def work(room: Stage, tab: QWidget) -> None:
        put(room, lan_server(trusted=True, status=ServerStatus.NOT_CHECKED))
        await until(lambda: table_of(tab).model().rowCount() == 2)
        table_of(tab).selectRow(0)
        press(tab, "Load")
        await until(open_questions)
        text = open_questions()[0].text()
        assert "qwen3:8b" in text and "192.0.2.7:8080" in text and "memory" in text
        answer("Cancel")
        await quiet(tab)
        assert room.shell.errors == []

    use_tab(home, work)


# --- keys and certificates ---------------------------------------------------------------------------------


def test_a_key_is_kept_where_its_owner_chose_and_there_again_after_a_restart(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R9: no keyring is told, never replaced silently; the file only when it is chosen."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    metronome = start_metronome(api_key="sk-right")

    async def first(room: Stage, tab: QWidget) -> None:
        dialog = await add(tab, metronome.url, "sk-right")
        problem = by_name(dialog, PlainLabel, "Why it did not work")
        await until(problem.text)
        assert dialog.isVisible()
        assert not (home / "data" / "keys.json").exists()
        by_name(dialog, QComboBox, "Where the key is kept").setCurrentText(FILE)
        press(dialog, "Add")
        await until(lambda: not tab.findChildren(QDialog))
        await until(lambda: cells(table_of(tab))[0][1] == "● online")
        texts = [label.text() for label in tab.findChildren(QLabel)]
        assert "in a file only you can read" in texts
        assert not any("sk-right" in text for text in texts)

    async def second(room: Stage, tab: QWidget) -> None:
        assert records(room)[0].status is ServerStatus.NOT_CHECKED
        await until(lambda: table_of(tab).current is not None)
        press(tab, "Check")
        await until(lambda: cells(table_of(tab))[0][1] == "● online")

    try:
        use_tab(home, first)
        use_tab(home, second)
    finally:
        metronome.close()


def test_d14_a_refused_certificate_is_shown_and_trusted_alone_after_a_yes(home: Path, tmp_path: Path) -> None:
    """No silent downgrade: a no changes nothing, a yes accepts this one only, and can be taken back."""
    signed = pytest.importorskip("tests.fakes.certificates").certificate("127.0.0.1")
    tls_model_server = pytest.importorskip("tests.fakes.tls_models").tls_model_server

    async def work(room: Stage, tab: QWidget) -> None:
        async with tls_model_server(signed, tmp_path) as server:
            await add(tab, server.url)
            await until(lambda: records(room))
            await quiet(tab)
            problem = by_name(tab, PlainLabel, "What is wrong with the chosen server")
            await until(lambda: "self-signed" in problem.text())
            for word in ("Cancel", "Trust this one"):
                press(tab, "Certificate…")
                await until(open_questions)
                assert signed.sha256[:2].upper() + ":" in open_questions()[0].text()
                answer(word)
                await quiet(tab)
                assert (records(room)[0].tls_pin is not None) is (word != "Cancel")
            await until(lambda: records(room)[0].status is ServerStatus.ONLINE)
            press(tab, "Certificate…")
            await until(open_questions)
            answer("Stop trusting it")
            await quiet(tab)
            await until(lambda: records(room)[0].status is not ServerStatus.ONLINE)
            assert room.shell.errors == []

    use_tab(home, work)


# --- waking, names, haste ----------------------------------------------------------------------------------


def test_a_sleeping_computer_is_woken_by_its_hardware_address_checked_as_it_is_typed(home: Path) -> None:
    async def work(room: Stage, tab: QWidget) -> None:
        put(room, lan_server(status=ServerStatus.OFFLINE, problem="Nothing listens there."))
        await until(lambda: table_of(tab).model().rowCount() == 2)
        press(tab, "Wake")
        await until(lambda: tab.findChildren(QDialog))
        dialog = dialog_of(tab)
        line = dialog.findChild(QLineEdit)
        wake = next(b for b in dialog.findChildren(QPushButton) if b.text() == "Wake")
        assert line is not None
        for bad in ("", "00:11:22", "ff:ff:ff:ff:ff:ff", "zz:11:22:33:44:55"):
            line.setText(bad)
            assert not wake.isEnabled()
        assert any("hardware address" in label.text() for label in dialog.findChildren(PlainLabel))
        line.setText("00-11-22-AA-BB-CC")
        assert wake.isEnabled()
        dialog.reject()
        await quiet(tab)
        assert room.shell.errors == []

    use_tab(home, work)


def test_every_control_of_the_tab_and_its_dialogs_has_a_name(home: Path) -> None:
    async def work(room: Stage, tab: QWidget) -> None:
        put(room, lan_server(changed="It was another one.", note="mine"))
        await until(lambda: table_of(tab).model().rowCount() == 2)
        press(tab, "Add a server…")
        press(tab, "API key…")
        scan_dialog(room, tab)
        await asyncio.sleep(0)
        nameless = [
            f"{type(w).__name__} {w.objectName()}"
            for w in controls(tab)
            if not (w.accessibleName() or word_on(w))
        ]
        assert nameless == []
        assert all(label.textFormat() is Qt.TextFormat.PlainText for label in labels(tab))
        for dialog in tab.findChildren(QDialog):
            dialog.reject()

    use_tab(home, work)


def test_very_fast_clicks_do_everything_once_and_closing_ends_what_runs(home: Path) -> None:
    """U16."""
    metronome = start_metronome()

    async def work(room: Stage, tab: QWidget) -> None:
        dialog = await add(tab, metronome.url)
        for _ in range(20):
            press(dialog, "Add") if by_name(dialog, QPushButton, "Add").isEnabled() else None
        await until(lambda: table_of(tab).model().rowCount() == 1)
        await quiet(tab)
        for word in ("Check", "Favourite", "Remove") * 5:
            button = by_name(tab, QPushButton, word)
            button.click()
        await quiet(tab)
        assert len(records(room)) <= 1
        assert room.shell.errors == []
        # The tab dies with a dialog open and a question under way; the stage looks for what is left.
        await add(tab, "http://127.0.0.1:1")
        QTest.keyClick(tab, Qt.Key.Key_Escape)

    try:
        use_tab(home, work)
    finally:
        metronome.close()


def test_the_details_of_a_model_are_asked_for_only_where_a_person_trusts_the_server(home: Path) -> None:
    metronome = start_metronome(engine="ollama", models=("alpha",))

    async def work(room: Stage, tab: QWidget) -> None:
        await add(tab, metronome.url)
        await until(lambda: table_of(tab).model().rowCount() == 1)
        asked = by_name(tab, QWidget, "About the model")
        await until(lambda: any("tokens" in label.text() for label in asked.findChildren(QLabel)))

    try:
        use_tab(home, work)
    finally:
        metronome.close()
    assert json.loads((home / "data" / "servers.json").read_text())
