"""Starting a program of ours that may outlive us, tied to us by its stdin only.

It sees the end of its stdin when we let go of it or die, however we die. Plain blocking calls, meant for
worker threads: unlike an asyncio subprocess, nothing ends when an event loop or an object goes away.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from llama_runner.core.files import PRIVATE_FILE_MODE

if sys.platform == "win32":
    from llama_runner.system._windows import ProcessTree, spawn_options
else:
    from llama_runner.system._posix import ProcessTree, spawn_options


class BackgroundProgram:
    """A started program; its stdout is a pipe to us, its stderr goes to a file.

    Args:
        argv: A list, never a shell.
        env: The whole environment.
        errors_to: Replaced by what the program writes to stderr.

    Raises:
        OSError: It could not be started.
    """

    def __init__(self, argv: Sequence[str], *, env: Mapping[str, str], errors_to: Path) -> None:
        # Private from its first moment on, as opening alone would not make it.
        errors_to.touch(PRIVATE_FILE_MODE)
        with errors_to.open("wb") as stderr:
            self._process = subprocess.Popen(
                list(argv),
                env=dict(env),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                **spawn_options(die_with_parent=False),
            )
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.poll()

    def read_line(self) -> bytes:
        """The next line of its stdout, empty at the end. Blocks."""
        return _pipe(self._process.stdout).readline()

    def read_rest(self) -> bytes:
        """Its stdout up to the end. Blocks until the program has closed it."""
        return _pipe(self._process.stdout).read()

    def end_stdin(self) -> None:
        """Tell it that nobody owns it any more. Idempotent."""
        _pipe(self._process.stdin).close()

    def wait(self, limit_s: float) -> int | None:
        """Its exit code, None when it still runs after `limit_s`. Blocks."""
        try:
            return self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """End it now, and what it started in its own group."""
        if self._process.poll() is None:
            tree = ProcessTree(self.pid, die_with_parent=False)
            tree.kill()
            tree.close()

    def let_go(self) -> None:
        """Close our ends of its pipes and leave it to itself. Idempotent."""
        self.end_stdin()
        _pipe(self._process.stdout).close()
        if self._process.poll() is None:
            # Popen's finaliser warns about a program that still runs; this one is meant to.
            self._process.returncode = 0


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
