"""How long the window's one thread is held by what a person does in a list of 2,000 models.

    QT_QPA_PLATFORM=offscreen python -m tests.bench.gui [--models 2000] [--rounds 20]

Prints milliseconds of the thread, median and worst: of each act itself, and of the longest turn of the loop
after it, in which things are laid out and painted. Nothing may take more than 8 ms in normal use.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLineEdit

from llama_runner.control.values import ServedModel
from llama_runner.ui.tabs.models_library import Library
from tests.ui.tab_support import run, stage, until

Held = tuple[float, float]
TURNS: Final = 20
PAUSE_S: Final = 0.15
QUANTIZATIONS: Final = ("Q4_K_M", "Q5_K_M", "Q8_0", "F16", "IQ2_XS")


def model(number: int) -> ServedModel:
    """One of many, with as much to say as a real one."""
    quantization = QUANTIZATIONS[number % len(QUANTIZATIONS)]
    name = f"family-{number % 37}-{number}b-instruct-{quantization}"
    return ServedModel(
        id=name,
        path=f"/models/publisher-{number % 101}/{name}/{name}.gguf",
        origin="models folder",
        size_bytes=10**9 + number,
        name=f"Family {number % 37} {number}B Instruct",
        architecture=("llama", "qwen3", "gemma3")[number % 3],
        quantization=quantization,
        context_length=32_768,
        capabilities=("completion", "tools"),
        license="apache-2.0",
        base_name=f"Family {number % 37}",
        size_label=f"{number}B",
        fit="fits" if number % 2 else "too large",
        need_bytes=2 * 10**9,
        room_bytes=16 * 10**9,
    )


async def held(act: Callable[[], object]) -> Held:
    """Milliseconds of the act, and of the longest turn of the loop after it."""
    began = time.thread_time()
    act()
    done = time.thread_time()
    longest = 0.0
    for _ in range(TURNS):
        turn = time.thread_time()
        await asyncio.sleep(0)
        longest = max(longest, time.thread_time() - turn)
    return (done - began) * 1000, longest * 1000


def acts(library: Library, models: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """What a person does, in order."""
    files = [model(number) for number in range(models)]
    table = library.table
    line = next(f for f in library.findChildren(QLineEdit) if f.accessibleName() == "Filter models")
    size = [column.title for column in table.rows_model.columns].index("Size")
    yield "show", lambda: library.show_found(files)
    # It has the focus perhaps, and then nothing happens.
    table.setFocus()
    yield "go to the filter", line.setFocus
    for name, key in (("first", "q"), ("second", "4"), ("third", "_")):
        yield f"{name} key of a filter", partial(QTest.keyClicks, line, key)
    yield "key that finds nothing", partial(QTest.keyClicks, line, "~")
    yield "clear the filter", line.clear
    yield "sort by name", partial(table.sortByColumn, 0, Qt.SortOrder.DescendingOrder)
    yield "sort by size", partial(table.sortByColumn, size, Qt.SortOrder.AscendingOrder)
    yield "what is read 4 times a second", library.read


async def measure(home: Path, models: int, rounds: int) -> dict[str, list[Held]]:
    """Every act, as often as there are rounds."""
    found: dict[str, list[Held]] = {}
    async with stage(home) as on:
        for _ in range(rounds):
            library = Library(on.workspace, on.shell)
            on.show(library, 1130, 570)
            library.activateWindow()
            await until(library.isActiveWindow)
            for name, act in acts(library, models):
                # As long as a person takes for the next one; what is prepared meanwhile is no part of it.
                await asyncio.sleep(PAUSE_S)
                found.setdefault(name, []).append(await held(act))
            library.hide()
    return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    application = QApplication([])
    with tempfile.TemporaryDirectory(prefix="llama-runner-bench-") as home:
        found: dict[str, list[Held]] = {}

        async def scenario() -> None:
            found.update(await measure(Path(home), options.models, options.rounds))

        run(scenario())
    sys.stdout.write(f"{'ms':32}{'act':>8}{'worst':>8}{'after':>9}{'worst':>8}\n")
    for name, times in found.items():
        first, after = zip(*times, strict=True)
        figures = (statistics.median(first), max(first), statistics.median(after), max(after))
        sys.stdout.write(f"{name:32}" + "".join(f"{value:8.1f}" for value in figures) + "\n")
    application.quit()
    return 0


if __name__ == "__main__":
    sys.exit(main())
