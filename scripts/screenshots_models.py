"""The Models tab in all its states, for `scripts/screenshots.py`: odd files, long names, routes, engines."""

import shutil
import socket
from typing import TYPE_CHECKING, Final

from scripts.camera import PATIENCE_S, Camera, button, settle, until

if TYPE_CHECKING:
    from PySide6.QtWidgets import QDialog, QWidget

    from llama_runner.ui.main_window import MainWindow

PROMPT: Final = "Write a Python function that adds two numbers, and explain it in a short list."
DEMO_MODEL: Final = "SmolLM2-135M-Instruct.Q4_1"
LONG_NAME: Final = (
    "the-model-with-a-name-as-long-as-hubs-have-them-fine-tuned-merged-abliterated-and-quantized-again-"
    "Instruct-v2.1-imatrix-IQ4_XS-by-somebody-with-a-long-name-too"
)
ELSEWHERE: Final = "qwen3-coder:30b@192.0.2.7:11434"


async def models_tab(window: "MainWindow", camera: Camera) -> None:
    """Details, options, output; both dialects of the proxy, one on a port that is taken; routes; requests;
    engines.
    """
    from PySide6.QtWidgets import QCheckBox, QLineEdit, QTabBar, QTabWidget

    from llama_runner.ui.tabs.models import ModelsTab
    from llama_runner.ui.tabs.models_form import OptionsForm

    tab = window.findChild(ModelsTab)
    assert tab is not None
    about = tab.findChild(QTabWidget)
    pages = next(bar for bar in tab.findChildren(QTabBar) if bar.tabText(0) == "Library")
    assert about is not None
    await _odd_files(window, tab, camera)
    about.setCurrentIndex(2)
    await camera.take("models-output")
    button(tab, "Unload").click()
    await settle(1.0)
    about.setCurrentIndex(0)
    await camera.take("models-unloaded")
    about.setCurrentIndex(1)
    await settle()
    form = tab.findChild(OptionsForm)
    assert form is not None
    await camera.take("models-options")
    form.rows["context_length"].set_text("4096")
    form.rows["cache_type_k"].set_text("q8_0")
    form.rows["parallel"].set_text("0")
    await settle(1.0)
    await camera.take("models-options-wrong")
    form.rows["parallel"].set_text("2")
    await settle(1.0)
    await camera.take("models-options-entered")
    await _profile(tab, camera)
    button(tab, "Load").click()
    await until(lambda: window.target is not None, what="the model with options")
    about.setCurrentIndex(0)
    await settle(1.0)
    await camera.take("models-loaded")
    pages.setCurrentIndex(1)
    openai, ollama = (box for box in tab.findChildren(QCheckBox) if box.accessibleName().startswith("Serve"))
    openai.click()
    port = next(f for f in tab.findChildren(QLineEdit) if f.accessibleName() == "Port of the Ollama API")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port.setText(str(taken.getsockname()[1]))
        ollama.click()
        await settle(1.5)
        await camera.take("models-busy-port")
    await _routes(window, tab, camera)
    pages.setCurrentIndex(2)
    await camera.take("models-no-requests")
    await _ask_some(tab)
    await settle(1.5)
    await camera.take("models-requests")
    pages.setCurrentIndex(1)
    port.setText("0")
    ollama.click()
    await settle(0.6)
    openai.click()
    pages.setCurrentIndex(3)
    await _engines(tab, camera)
    pages.setCurrentIndex(0)
    await settle(0.6)


async def _odd_files(window: "MainWindow", tab: "QWidget", camera: Camera) -> None:
    """A file that is none, a name too long for any column, a filter that finds nothing; gone afterwards."""
    from PySide6.QtWidgets import QLineEdit

    from llama_runner.runtime.catalogue import DEMO_MODEL_PACKAGE
    from llama_runner.runtime.engine import packaged_file
    from llama_runner.ui.tabs.models_library import Library

    library = tab.findChild(Library)
    assert library is not None and window.workspace is not None
    table, folder = library.table, window.workspace.home.data_dir / "models"
    for name in ("broken", LONG_NAME):
        (folder / name).mkdir(parents=True)
    (folder / "broken" / "broken.gguf").write_bytes(b"no model")
    if (demo := packaged_file(DEMO_MODEL_PACKAGE, ".gguf")) is not None:
        shutil.copyfile(demo, folder / LONG_NAME / f"{LONG_NAME}.gguf")
    button(library, "Look again").click()
    await until(lambda: len(table.rows_model.rows) == 3, what="the files")
    # A name as an id is cut.
    for name, begin in (("models-broken", "broken"), ("models-long", LONG_NAME[:20])):
        table.select_keys({one.file.id for one in table.rows_model.rows if one.file.id.startswith(begin)})
        await settle(0.8)
        await camera.take(name)
    line = next(f for f in library.findChildren(QLineEdit) if f.accessibleName() == "Filter models")
    line.setText("no such model")
    await camera.take("models-filtered")
    line.clear()
    for name in ("broken", LONG_NAME):
        shutil.rmtree(folder / name)
    button(library, "Look again").click()
    await until(lambda: len(table.rows_model.rows) == 1, what="the files to be gone")
    table.select_keys({DEMO_MODEL})
    await settle(0.6)


async def _dialog(window: "QWidget") -> "QDialog":
    from PySide6.QtWidgets import QDialog

    def found() -> "list[QDialog]":
        return [one for one in window.findChildren(QDialog) if one.isVisible()]

    await until(found, what="the dialog")
    await settle()
    return found()[0]


def _type(root: "QWidget", name: str, text: str) -> None:
    """Into the field with this name."""
    from PySide6.QtWidgets import QLineEdit

    next(line for line in root.findChildren(QLineEdit) if line.accessibleName() == name).setText(text)


async def _routes(window: "MainWindow", tab: "QWidget", camera: Camera) -> None:
    """None; one with long names added, tested, changed; a step that is none; servers; removed."""
    from llama_runner.ui.tabs.models_routes import RoutesView
    from llama_runner.ui.widgets.tables import DataTable
    from scripts.example_servers import example_servers

    view = tab.findChild(RoutesView)
    assert view is not None and window.workspace is not None
    for record in example_servers():
        window.workspace.registry.upsert(record)
    button(view, "Add…").click()
    asked = await _dialog(window)
    _type(asked, "Name that programs ask for", "coder")
    for step in (LONG_NAME, ELSEWHERE, DEMO_MODEL):
        _type(asked, "Step to add", step)
        button(asked, "Add step").click()
    await camera.take("route-add", asked)
    _type(asked, "Step to add", "@nowhere")
    button(asked, "Add step").click()
    await camera.take("route-wrong", asked)
    _type(asked, "Step to add", "")
    button(asked, "Add").click()
    table = view.findChild(DataTable)
    assert table is not None
    await until(lambda: table.selected, what="the route")
    table.select_keys({"2 coder"})
    button(view, "Test").click()
    await settle(2.0)
    await camera.take("routes-tested")
    button(view, "Offered servers…").click()
    asked = await _dialog(window)
    await camera.take("route-servers", asked)
    asked.close()
    button(view, "Remove").click()
    await settle(1.0)
    await camera.take("routes-removed")
    for record in example_servers():
        window.workspace.registry.remove(record.id)


async def _engines(tab: "QWidget", camera: Camera) -> None:
    """The default one; a program that is no engine; one that is; removed."""
    from llama_runner.runtime.engine import demo_engine
    from llama_runner.ui.tabs.models_engines import EnginesView

    view = tab.findChild(EnginesView)
    assert view is not None
    await settle(1.0)
    await camera.take("engines")
    button(view, "Add…").click()
    asked = await _dialog(tab.window())
    _type(asked, "Name of the engine", "mine")
    _type(asked, "Program of the engine", "/bin/ls")
    button(asked, "Check").click()
    await settle(1.5)
    await camera.take("engine-wrong", asked)
    _type(asked, "Program of the engine", str(demo_engine()))
    button(asked, "Check").click()
    await settle(2.0)
    await camera.take("engine-checked", asked)
    button(asked, "Add").click()
    await settle(2.5)
    await camera.take("engines-added")
    button(view, "Remove").click()
    await settle(1.5)
    await camera.take("engines-removed")


async def _profile(tab: "QWidget", camera: Camera) -> None:
    """What is entered becomes a profile, which is deleted and brought back."""
    from PySide6.QtGui import QAction
    from PySide6.QtWidgets import QDialog, QLineEdit

    button(tab, "Save").click()
    await settle()
    opened = next(d for d in tab.window().findChildren(QDialog) if d.isVisible())
    next(iter(opened.findChildren(QLineEdit))).setText("long answers")
    await camera.take("models-profile-name", opened)
    button(opened, "Save").click()
    await settle(1.0)
    menu = next(a for a in tab.findChildren(QAction) if a.text() == "Delete")
    menu.trigger()
    await settle(1.0)
    await camera.take("models-profile-deleted")
    button(tab, "Undo").click()
    await settle(1.0)


async def _ask_some(tab: "QWidget") -> None:
    """Requests as another program sends them: answered, streamed, refused."""
    from llama_runner.net.client import open_http
    from llama_runner.ui.tabs.models_serve import ServePage

    page = tab.findChild(ServePage)
    assert page is not None
    asked = {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 48, "temperature": 0}
    async with open_http() as http:
        for model, stream in ((DEMO_MODEL, False), ("nobody", False), ("", True)):
            body = {"model": model or DEMO_MODEL, "stream": stream, **asked}
            await http.post(f"{page.openai.url}/chat/completions", json=body, timeout=PATIENCE_S)
