"""A program that keeps turns is killed again and again: what it said was kept must be there (safety 5).

python -m tests.integration.history_kills --count 200
"""

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llama_runner.backends.request import Role
from llama_runner.chat.history import History
from llama_runner.chat.history_opening import HistoryFile
from llama_runner.chat.history_store import HistoryStore
from llama_runner.chat.history_values import KeptTurn
from llama_runner.core.clock import SystemClock

# One conversation in all: each writer goes on where the last one was killed.
ID: Final = "0" * 32
# So many turns are said to be kept before a writer is killed, at most.
MOST_TURNS: Final = 12


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a series of kills did.

    Attributes:
        lost: Turns that were said to be kept and are not there.
        notes: What the openings had to tell: nothing, when all is well.
    """

    kills: int
    kept: int
    lost: int
    notes: tuple[str, ...]


def file_in(folder: Path) -> HistoryFile:
    """The file that the writers share."""
    return HistoryFile(folder / "history.db", folder / "history.lock", SystemClock())


async def write(folder: Path) -> None:
    """Keep one turn after the other and say each number once it is kept, until killed."""
    history = History(file_in(folder), SystemClock())
    begin = sum(one.messages for one in await history.page(1))
    for number in range(begin, begin + 100_000):
        await history.save(ID, "", number, [KeptTurn(Role.USER, f"turn {number} " + "x" * 3_000)])
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


def _said(folder: Path, until: int) -> Iterator[int]:
    """The numbers that a writer says; it is killed after so many, in the middle of the next one."""
    process = subprocess.Popen(
        [sys.executable, "-m", __spec__.name if __spec__ else __name__, "--write", str(folder)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout as lines:
        for count, line in enumerate(lines, 1):
            yield int(line)
            if count == until:
                process.kill()
    process.wait()


def kill_writers(folder: Path, count: int, seed: int) -> Outcome:
    """Start and kill `count` writers, and look after each what is there."""
    chance = random.Random(seed)
    lost, kept = 0, 0
    notes: list[str] = []
    for _ in range(count):
        said = list(_said(folder, chance.randint(1, MOST_TURNS)))
        opened = file_in(folder).open()
        with closing(opened.connection):
            notes += opened.notes
            texts = [turn.text.split(" x")[0] for turn in HistoryStore(opened.connection).load(ID).turns]
        lost += sum(f"turn {number}" not in texts for number in said)
        assert texts == [f"turn {number}" for number in range(len(texts))]
        kept = len(texts)
    return Outcome(count, kept, lost, tuple(notes))


def main() -> int:
    """Write or kill."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.write is not None:
        asyncio.run(write(args.write))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        outcome = kill_writers(Path(folder), args.count, args.seed)
    sys.stdout.write(f"{outcome}\n")
    return 1 if outcome.lost or outcome.notes else 0


if __name__ == "__main__":
    sys.exit(main())
