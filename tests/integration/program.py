"""The whole program as a process, and proof that nothing of it stays."""

import ctypes
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from llama_runner.system.environment import self_command

# Bounds every wait: starting the service and loading the demo model takes two seconds on a quiet machine.
LIMIT_S: Final = 45.0
_PR_SET_CHILD_SUBREAPER: Final = 36


@dataclass(frozen=True, slots=True)
class Done:
    """A program that has ended."""

    code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """Its one JSON document."""
        return json.loads(self.stdout)


@contextmanager
def adopting_orphans() -> Iterator[None]:
    """Processes whose parent dies become children of this one, so that none escapes being counted."""
    if sys.platform != "linux":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def start(*arguments: str, stdin: int = subprocess.DEVNULL) -> "subprocess.Popen[bytes]":
    """Start the program in a session of its own, as a terminal would."""
    return subprocess.Popen(
        [*self_command(), *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(process: "subprocess.Popen[bytes]") -> Done:
    """Wait for its end."""
    try:
        stdout, stderr = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        stdout, stderr = process.communicate()
        raise AssertionError(f"did not end: {stdout.decode()} {stderr.decode()}") from None
    return Done(process.returncode, stdout.decode(), stderr.decode())


def run(*arguments: str) -> Done:
    """Start it and wait for its end."""
    return finish(start(*arguments))
