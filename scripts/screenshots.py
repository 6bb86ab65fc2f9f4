"""Drives the real window, service, engine and demo model through their states and writes what it looks like.

    python scripts/screenshots.py [--out DIR] [--looks light-1280x720,dark-1024x600,...]

Each look runs in a process of its own: theme, size and scale are decided before Qt starts. Look at the
pictures after every change to `ui/`; those in docs/images come from here.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

ROOT: Final = Path(__file__).resolve().parent.parent
# Started as a plain script, Python looks in scripts/ only.
sys.path.insert(0, str(ROOT))

from scripts.camera import PATIENCE_S, Camera, Look, button, parse_look, settle, until  # noqa: E402
from scripts.screenshots_models import PROMPT, models_tab  # noqa: E402

if TYPE_CHECKING:
    from llama_runner.ui.main_window import MainWindow
    from llama_runner.workspace import Workspace

LOOKS: Final = ("light-1280x720", "dark-1280x720", "dark-1024x600", "light-1920x1080@2")
LOOK_S: Final = 300
# What was asked on other days.
KEPT: Final = (
    "Why is the sky blue?",
    "A haiku about rain on a tin roof, and one about the smell of the street afterwards",
    "Name three colours.",
    "Compare bubble sort and quicksort.",
)
# Picture of the script -> name in docs/images.
DOCS: Final = {
    "dark-1280x720-*-chat-done.png": "chat-dark.png",
    "light-1280x720-*-stress-done.png": "stress-light.png",
    "light-1280x720-??-models-options-entered.png": "models-light.png",
    "dark-1280x720-??-monitor.png": "monitor-dark.png",
    "light-1280x720-??-discovery-favourite.png": "discovery-light.png",
}


async def drive(window: "MainWindow", out: Path, look: Look, *, demo: bool, models: bool) -> None:
    """Go through the states."""
    from llama_runner.ui.theme import ThemeMode

    window.theme.set_mode(ThemeMode(look.theme))
    window.resize(look.width, look.height)
    camera = Camera(window, out, look)
    if demo:
        await _drive_demo(window, camera, models=models)
    else:
        await _drive_empty(window, camera)


async def _drive_empty(window: "MainWindow", camera: Camera) -> None:
    """A fresh home without engine and models: every tab says what to do first."""
    for key in ("discovery", "models", "chat", "arena", "stress", "monitor"):
        window.open_tab(key)
        await settle(1.0)
        await camera.take(f"empty-{key}")
    window.open_tab("discovery")
    await settle()
    await camera.take("notices")
    await _drive_discovery(window, camera)


async def _drive_discovery(window: "MainWindow", camera: Camera) -> None:
    """The list of servers in all its states; nobody is asked, the addresses belong to nobody."""
    from PySide6.QtWidgets import QDialog, QLineEdit

    from llama_runner.discovery.networks import plan_scan
    from llama_runner.ui.tabs.discovery import DiscoveryTab
    from scripts.example_servers import example_servers, long_server

    workspace = window.workspace
    assert workspace is not None
    window.dock.set_folded(True)
    window.open_tab("discovery")
    tab = window.findChild(DiscoveryTab)
    assert tab is not None

    async def dialog(word: str, name: str, *typed: tuple[str, str], press: str = "") -> None:
        button(tab, word).click()
        await settle(0.6)
        opened = next(d for d in tab.findChildren(QDialog) if d.isVisible())
        for field, text in typed:
            next(e for e in opened.findChildren(QLineEdit) if e.accessibleName() == field).setText(text)
        if press:
            button(opened, press).click()
        await camera.take(name, opened)
        opened.close()
        await settle(0.1)

    await dialog("Add a server…", "discovery-add")
    await dialog(
        "Add a server…", "discovery-add-wrong", ("Address of a server to add", "ftp://nas"), press="Add"
    )
    await dialog("Scan a network…", "discovery-network", ("Single hosts", "192.0.2.7"))
    await dialog("Scan a network…", "discovery-network-wrong", ("Other networks", "8.8.8.0/24"))
    for record in example_servers():
        workspace.registry.upsert(record)
    await settle()
    for number, name in enumerate(("favourite", "here", "embedding", "vision", "other", "changed", "key")):
        tab.table.selectRow(number)
        await camera.take(f"discovery-{name}")
    for number, name in ((7, "offline"), (8, "certificate")):
        tab.table.selectRow(number)
        await camera.take(f"discovery-{name}")
    tab.table.selectRow(4)
    button(tab, "Chat").click()
    await settle()
    question = next(d for d in tab.findChildren(QDialog) if d.isVisible())
    await camera.take("discovery-question", question)
    question.close()
    tab.table.selectAll()
    await camera.take("discovery-several")
    tab.table.selectRow(1)
    button(tab, "Remove").click()
    await camera.take("discovery-removed")
    button(tab, "Undo").click()
    await settle()
    tab.filter.setText("no such model")
    await camera.take("discovery-filtered")
    tab.filter.clear()
    hosts = [f"127.0.1.{n}" for n in range(1, 240)]
    tab.scan(plan_scan(workspace.settings.discovery, hosts=hosts))
    await settle(1.5)
    await camera.take("discovery-scanning")
    button(tab, "Stop").click()
    await settle()
    await camera.take("discovery-stopped")
    workspace.registry.upsert(long_server())
    await settle(0.6)
    tab.filter.setText("large-company")
    tab.table.selectRow(2)
    await camera.take("discovery-long")
    tab.filter.clear()
    window.dock.set_folded(False)


async def _drive_demo(window: "MainWindow", camera: Camera, *, models: bool) -> None:
    """With the demo model: loading, answering, comparing, measuring."""
    workspace = window.workspace
    assert workspace is not None
    window.open_tab("models")
    await until(lambda: workspace.service.snapshot.instances, what="the service")
    await camera.take("models-loading")
    await until(lambda: window.target is not None, what="the demo model")
    await settle(1.0)
    await camera.take("models-ready")
    await models_tab(window, camera)
    if models:
        return
    window.open_tab("discovery")
    await camera.take("discovery")
    await _chat(window, camera)
    window.open_tab("arena")
    await settle(0.6)
    await camera.take("arena")
    await _stress(window, camera)
    window.open_tab("monitor")
    await settle(2.5)
    await camera.take("monitor")
    window.dock.set_folded(True)
    await camera.take("dock-folded")
    window.dock.set_folded(False)
    await _dialogs(window, camera)


async def _chat(window: "MainWindow", camera: Camera) -> None:
    from PySide6.QtWidgets import QLineEdit, QPlainTextEdit

    workspace = window.workspace
    assert workspace is not None
    await _keep_some(workspace)
    window.open_tab("chat")
    await settle()
    field = window.findChild(QPlainTextEdit, "chat-input")
    if field is None:
        return
    field.setPlainText(PROMPT)
    button(window, "Send").click()
    await settle(1.2)
    await camera.take("chat-streaming")
    chat = workspace.chat
    await until(lambda: not any(chat.snapshot(c).busy for c in chat.conversations), what="the answer")
    await settle(1.0)
    await camera.take("chat-done")
    search = window.findChild(QLineEdit, "chat-search")
    assert search is not None
    for words, name in (("sky", "chat-found"), ("nowhere", "chat-nothing-found"), ("", "")):
        search.setText(words)
        await settle(0.6)
        if name:
            await camera.take(name)
    button(window, "Delete").click()
    await settle(0.6)
    await camera.take("chat-deleted")
    button(window, "Undo").click()
    await settle(0.6)


async def _keep_some(workspace: "Workspace") -> None:
    """Conversations of other days, for the list."""
    from datetime import timedelta

    from llama_runner.backends.request import Role
    from llama_runner.chat.history_values import KeptConversation, KeptTurn

    for day, asked in enumerate(KEPT, 1):
        at = workspace.clock.utc() - timedelta(days=day)
        turns = (KeptTurn(Role.USER, asked, at), KeptTurn(Role.ASSISTANT, "That is a long story.", at))
        await workspace.history.put(KeptConversation(f"{day:032x}", asked, at, at, turns))


async def _stress(window: "MainWindow", camera: Camera) -> None:
    from PySide6.QtWidgets import QPushButton

    window.open_tab("stress")
    await settle(0.6)
    await camera.take("stress")
    start = window.findChild(QPushButton, "stress-start")
    workspace = window.workspace
    if start is None or workspace is None:
        return
    start.click()
    await until(lambda: workspace.stress.running, what="the run's start")
    await settle(3.0)
    await camera.take("stress-running")
    await until(lambda: not workspace.stress.running, what="the run's end", timeout_s=3 * PATIENCE_S)
    await camera.take("stress-done")


async def _dialogs(window: "MainWindow", camera: Camera) -> None:
    from PySide6.QtWidgets import QDialog

    from llama_runner.ui.tabs import Severity

    for open_dialog, name in (
        (window.open_settings, "settings"),
        (window.open_log, "log"),
        (window.open_about, "about"),
    ):
        open_dialog()
        await settle()
        dialog = next(d for d in window.findChildren(QDialog) if d.isVisible())
        await camera.take(name, dialog)
        dialog.close()
        await settle(0.1)
    window.notify(
        "The server at 192.168.1.20:8080 did not answer.",
        severity=Severity.ERROR,
        details="Start it, or take it off the list.",
    )
    await camera.take("notice")


def _take_any_port(home: Path) -> None:
    """A service that runs beside this must not put its notice into every picture."""
    from llama_runner.core.config import load_app_config, save_app_config
    from llama_runner.core.editing import replace_setting
    from llama_runner.core.paths import create_folders, home_at

    place = home_at(home)
    create_folders(place)
    config = load_app_config(place).value
    for key in ("service.control_port", "proxy.openai_port", "proxy.ollama_port"):
        config = replace_setting(config, key, 0)
    save_app_config(place, config)


def run_child(look: Look, out: Path, *, demo: bool, models: bool) -> int:
    """The window in this process."""
    from llama_runner.ui.app import run_window

    failed: list[BaseException] = []

    async def work(window: "MainWindow") -> None:
        try:
            await drive(window, out, look, demo=demo, models=models)
        except BaseException as error:  # told by the exit code; the window closes either way
            failed.append(error)
            raise

    with tempfile.TemporaryDirectory(prefix="llama-runner-pictures-") as home:
        _take_any_port(Path(home))
        options = argparse.Namespace(
            home=Path(home), demo=demo, debug=False, json=False, quiet=False, yes=True
        )
        code = run_window(options, drive=work)
    if failed:
        sys.stderr.write(f"{look.name}: {failed[0]!r}\n")
    return 1 if failed else code


def start_child(look: Look, out: Path, *, demo: bool, models: bool) -> int:
    """One look in a process of its own."""
    env = dict(os.environ, QT_SCALE_FACTOR=str(look.scale), PYTHONPATH=str(ROOT))
    if not env.get("DISPLAY") and sys.platform != "win32":
        env["QT_QPA_PLATFORM"] = "offscreen"
    command = [sys.executable, __file__, "--child", look.name, "--out", str(out)]
    return subprocess.run(
        [*command, *(["--demo"] if demo else []), *(["--models"] if models else [])],
        env=env,
        timeout=LOOK_S,
        check=False,
    ).returncode


def copy_to_docs(out: Path) -> None:
    """Put the pictures that the documents show where they look for them."""
    folder = ROOT / "docs" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    for pattern, name in DOCS.items():
        newest = max(out.glob(pattern), key=lambda file: file.stat().st_mtime, default=None)
        if newest is not None and "empty" not in newest.name:
            shutil.copyfile(newest, folder / name)


def main() -> int:
    """All looks, empty and with the demo model."""
    parser = argparse.ArgumentParser(description="Write pictures of the window in all its states.")
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "screenshots")
    parser.add_argument("--looks", default=",".join(LOOKS))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--demo", action="store_true", help="only the states with the demo model")
    parser.add_argument("--models", action="store_true", help="only the Models tab, with the demo model")
    parser.add_argument("--docs", action="store_true", help="copy the good ones to docs/images")
    parser.add_argument("--empty", action="store_true", help="only the states without any model")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.child:
        return run_child(parse_look(args.child), args.out, demo=args.demo, models=args.models)
    kinds = [
        demo for demo, wanted in ((False, not (args.demo or args.models)), (True, not args.empty)) if wanted
    ]
    looks = [parse_look(text) for text in args.looks.split(",")]
    code = max(start_child(look, args.out, demo=demo, models=args.models) for look in looks for demo in kinds)
    if args.docs and code == 0:
        copy_to_docs(args.out)
    return code


if __name__ == "__main__":
    sys.exit(main())
