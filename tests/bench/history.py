"""A million messages: how long importing, listing and searching them take, and the memory it needs (B6, C12).

python -m tests.bench.history --conversations 10000 --messages 100
"""

import argparse
import asyncio
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from llama_runner.chat.history import History
from llama_runner.chat.history_opening import HistoryFile
from llama_runner.chat.importing import import_file, in_words
from llama_runner.core.clock import SystemClock
from tests.unit.chat.exports import chatgpt, write_array

SEARCHES: Final = ("the", "needle", "needle the", "zzzz", "%", "_", '"', "NEAR(", "*", "天", "x" * 10_000)
WORDS: Final = 20_000


def conversations(count: int, messages: int) -> Iterator[dict[str, Any]]:
    """Talk of random words, each as rare as words are, with one needle in a thousand conversations."""
    chance = random.Random(1)
    words = [f"word{number}" for number in range(WORDS)]
    weights = [1 / (number + 1) for number in range(WORDS)]
    for number in range(count):
        said = " ".join(["the", *chance.choices(words, weights, k=30)])
        yield chatgpt(number, messages, f"{said} needle" if number % 1000 == 7 else said)


async def measure(folder: Path, count: int, messages: int) -> None:
    """Print a line for each thing measured."""
    path = write_array(folder / "export.json", conversations(count, messages))
    file = HistoryFile(folder / "history.db", folder / "history.lock", SystemClock())
    history = History(file, SystemClock())
    begun = time.perf_counter()
    report = await import_file(history, path)
    took = time.perf_counter() - begun
    _say("\n".join(in_words(report)))
    _say(f"import            {took:8.1f} s   {path.stat().st_size / took / 1e6:.1f} MB/s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _say(f"memory at most    {peak / 1024:8.0f} MiB")
    sizes = [one.stat().st_size / 2**20 for one in (file.path, path)]
    _say(f"file              {sizes[0]:8.0f} MiB, export {sizes[1]:.0f} MiB")
    for name, offset in (("first page", 0), ("last page", max(0, count - 50))):
        begun = time.perf_counter()
        await history.page(50, offset)
        _say(f"{name:18}{(time.perf_counter() - begun) * 1e3:8.1f} ms")
    for text in SEARCHES:
        begun = time.perf_counter()
        found = await history.search(text, 50)
        spent = (time.perf_counter() - begun) * 1e3
        more = "" if found.complete else ", more"
        _say(f"search {text[:10]!r:12}{spent:7.1f} ms   {len(found.conversations)} found{more}")
    begun = time.perf_counter()
    await history.close()
    _say(f"closing           {time.perf_counter() - begun:8.2f} s")
    for name in ("opening and copy", "opening"):
        again = History(file, SystemClock())
        begun = time.perf_counter()
        await again.count()
        _say(f"{name:18}{(time.perf_counter() - begun) * 1e3:8.1f} ms")
        await again.close()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Parse and measure in a folder that is removed afterwards."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--conversations", type=int, default=10_000)
    parser.add_argument("--messages", type=int, default=100)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), args.conversations, args.messages))
    return 0


if __name__ == "__main__":
    sys.exit(main())
