"""Set up if needed, then run the program: `python3 scripts/run.py [ARGUMENTS]`, from any folder.

`--demo` also installs a real engine and a small real model, and is passed on; so is everything else.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

from scripts import environment  # noqa: E402 - the folder must be on the path first

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


def needed_locks(arguments: Sequence[str]) -> list[str]:
    """The lock files that must be installed before the program runs with `arguments`."""
    return [environment.APP_LOCK, *([environment.DEMO_LOCK] if "--demo" in arguments else [])]


def main(arguments: Sequence[str]) -> int:
    """Become the program (POSIX), or run it and return its exit code (Windows)."""
    try:
        python = environment.ensure(ROOT, needed_locks(arguments))
    except environment.SetupFailed as error:
        environment.say(str(error))
        return 1
    except KeyboardInterrupt:
        environment.say("Interrupted; the next start sets up again.")
        return 130
    command = [str(python), str(ROOT / "main.py"), *arguments]
    env = environment.clean_environment(os.environ)
    if sys.platform == "win32":
        return _run_and_wait(command, env)
    return _become(command, env)


def _become(command: list[str], env: dict[str, str]) -> NoReturn:
    os.execve(command[0], command, env)


def _run_and_wait(command: Sequence[str], env: dict[str, str]) -> int:
    import subprocess

    program = subprocess.Popen(command, env=env)
    while True:
        try:
            return program.wait()
        except KeyboardInterrupt:
            continue  # The console told the program as well; it decides when to end.


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
