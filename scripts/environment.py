"""The program's own `.venv`: finds a Python for it, fills it from the lock files, knows when it is complete.

Standard library only, and syntax that Python 3.8 still reads: an old Python may come first on the path.
Everything it says goes to stderr; stdout belongs to the program that is started afterwards.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

TYPE_CHECKING = False  # typing is a slow import, and this file runs at every start.
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import IO

# In order of preference when the Python at hand is none of them: the first is the one most tested.
SUPPORTED: tuple[tuple[int, int], ...] = ((3, 11), (3, 12), (3, 13))

APP_LOCK = "requirements.lock"
DEV_LOCK = "requirements-dev.lock"
DEMO_LOCK = "demo.lock"

# What each lock file's installation also provides: the development lock holds every pin of the other.
COVERS: dict[str, tuple[str, ...]] = {
    APP_LOCK: (APP_LOCK,),
    DEV_LOCK: (DEV_LOCK, APP_LOCK),
    DEMO_LOCK: (DEMO_LOCK,),
}

# They would change which modules our own interpreter finds.
_PYTHON_VARIABLES = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "__PYVENV_LAUNCHER__")


class SetupFailed(Exception):
    """The environment could not be made; the message says what to do."""


def say(text: str) -> None:
    """One line for the person, on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def clean_environment(env: Mapping[str, str]) -> dict[str, str]:
    """`env` without the variables that would point our interpreter at somebody else's modules (safety A7)."""
    return {name: value for name, value in env.items() if name not in _PYTHON_VARIABLES}


# --- which Python ------------------------------------------------------------------------------------------


def candidates(current: tuple[int, int], executable: str, platform: str) -> list[list[str]]:
    """Commands that may start a supported Python, best first: the running one, then the usual names."""
    found = [[executable]] if current in SUPPORTED else []
    for major, minor in SUPPORTED:
        if platform == "win32":
            found.append(["py", f"-{major}.{minor}"])
        found.append([f"python{major}.{minor}"])
    return found


def choose(
    commands: Sequence[Sequence[str]], version_of: Callable[[Sequence[str]], tuple[int, int] | None]
) -> Sequence[str] | None:
    """The first command whose Python really is a supported one; None when there is none."""
    return next((command for command in commands if version_of(command) in SUPPORTED), None)


def probe_version(command: Sequence[str]) -> tuple[int, int] | None:
    """(major, minor) of the CPython that `command` starts, None if it starts none."""
    import shutil
    import subprocess

    if shutil.which(command[0]) is None:
        return None
    question = "import sys; print(sys.implementation.name, *sys.version_info[:2])"
    try:
        answer = subprocess.run(
            [*command, "-c", question],
            capture_output=True,
            check=True,
            timeout=30,  # The Windows store's stand-in for a missing Python opens a window and waits.
            encoding="utf-8",
            env=clean_environment(os.environ),
        )
    except (OSError, subprocess.SubprocessError):
        return None
    name, _, numbers = answer.stdout.partition(" ")
    parts = numbers.split()
    return (int(parts[0]), int(parts[1])) if name == "cpython" and len(parts) == 2 else None


def find_python() -> Sequence[str]:
    """A command for a supported Python. Raises SetupFailed with what to install."""
    running = sys.version_info[:2] if sys.implementation.name == "cpython" else (0, 0)
    found = choose(candidates(running, sys.executable, sys.platform), probe_version)
    if found is None:
        names = ", ".join(f"{major}.{minor}" for major, minor in SUPPORTED)
        raise SetupFailed(
            f"Llama Runner needs Python {names}, and none was found. Install one, then run this again."
        )
    return found


# --- what is there -----------------------------------------------------------------------------------------


def venv_python(root: Path, platform: str = sys.platform) -> Path:
    """The environment's interpreter."""
    return root / ".venv" / ("Scripts/python.exe" if platform == "win32" else "bin/python")


def _state_dir(root: Path) -> Path:
    return root / ".venv" / "llama-runner-setup"


def _lock_hash(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def is_installed(root: Path, lock_name: str) -> bool:
    """Whether exactly this version of the lock file was installed completely."""
    try:
        stamp = (_state_dir(root) / lock_name).read_text(encoding="ascii")
    except OSError:
        return False
    return stamp == _lock_hash(root / lock_name) and venv_python(root).exists()


# --- making it ---------------------------------------------------------------------------------------------


def ensure(root: Path, lock_names: Sequence[str]) -> Path:
    """Install what is missing, return the interpreter. Silent when nothing is. Raises SetupFailed."""
    if not all(is_installed(root, name) for name in lock_names):
        with SetupLock(root) as lock_file:
            _make_environment(root)
            for name in lock_names:
                # Another start may have installed it while this one waited.
                if not is_installed(root, name):
                    _install(root, name, lock_file)
    return venv_python(root)


def _make_environment(root: Path) -> None:
    import subprocess

    interrupted = (_state_dir(root) / "installing").exists()
    if not interrupted and _is_usable(root):
        return
    python = find_python()
    if interrupted:
        say("The last set-up was interrupted; starting it over.")
    say(f"Making the environment {root / '.venv'} …")
    made = subprocess.run(
        [*python, "-m", "venv", "--clear", str(root / ".venv")],
        stdout=sys.stderr,
        env=clean_environment(os.environ),
        check=False,
    )
    if made.returncode != 0:
        raise SetupFailed(
            "The environment could not be made. On Debian and Ubuntu it needs the package python3-venv; "
            f"otherwise check that {root} can be written, then run this again."
        )


def _is_usable(root: Path) -> bool:
    import subprocess

    python = str(venv_python(root))
    if probe_version([python]) not in SUPPORTED:
        return False
    return (
        subprocess.run(
            [python, "-m", "pip", "--version"], capture_output=True, env=_pip_environment(), check=False
        ).returncode
        == 0
    )


def _pip_environment() -> dict[str, str]:
    return {
        **clean_environment(os.environ),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PIP_USER": "0",  # A user's own setting of 1 would refuse to install into an environment.
        "PYTHONUNBUFFERED": "1",
    }


def pip_arguments(lock_name: str) -> list[str]:
    """pip's arguments for one lock file: nothing without its hash, and the demo without its requirements."""
    alone = ["--no-deps"] if lock_name == DEMO_LOCK else []
    return ["-m", "pip", "install", "--require-hashes", *alone, "--progress-bar", "off", "-r", lock_name]


def _install(root: Path, lock_name: str, lock_file: IO[str]) -> None:
    state = _state_dir(root)
    state.mkdir(exist_ok=True)
    for name in COVERS[lock_name]:
        # Missing from here until the end: an interrupted installation is never taken for a complete one.
        _remove(state / name)
    marker = state / "installing"
    marker.write_text(lock_name, encoding="ascii")
    say(f"Installing {lock_name} (once; later starts skip this) …")
    returncode, tail = _run_pip(root, lock_name, lock_file)
    if returncode != 0:
        if returncode > 0:
            marker.unlink()  # pip ended by itself and undid what it had begun.
        say("\n".join(tail))
        raise SetupFailed(
            f"{lock_name} could not be installed (pip's last words are above). "
            "Check the network connection and the free disk space, then run this again."
        )
    for name in COVERS[lock_name]:
        _write_stamp(state / name, _lock_hash(root / name))
    marker.unlink()


def _run_pip(root: Path, lock_name: str, lock_file: IO[str]) -> tuple[int, list[str]]:
    """Exit status and last lines of pip, which shows what it is at while it runs."""
    import subprocess
    from collections import deque

    tail: deque[str] = deque(maxlen=20)
    with subprocess.Popen(
        [str(venv_python(root)), *pip_arguments(lock_name)],
        cwd=str(root),
        env=_pip_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        # pip keeps the lock when this process is killed: the next start waits for it instead of joining in.
        pass_fds=() if sys.platform == "win32" else (lock_file.fileno(),),
    ) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            tail.append(line.rstrip())
            if line.startswith(("Collecting", "Processing", "Installing collected", "Building")):
                _show_progress(line.partition(" (from ")[0].strip())
    _show_progress("")
    return pip.returncode, list(tail)


def _show_progress(line: str) -> None:
    """One line that changes on a terminal, lines elsewhere. Empty: done."""
    short = line if len(line) <= 70 else line[:69] + "…"
    if sys.stderr.isatty():
        sys.stderr.write("\r  " + short.ljust(70) + ("" if line else "\r"))
        sys.stderr.flush()
    elif line:
        say("  " + short)


def _write_stamp(stamp: Path, text: str) -> None:
    new = stamp.with_suffix(".new")
    new.write_text(text, encoding="ascii")
    os.replace(str(new), str(stamp))


def _remove(path: Path) -> None:
    if path.exists():
        path.unlink()


class SetupLock:
    """Holds the set-up lock of one checkout, so that two first starts do not fill the same folder at once."""

    def __init__(self, root: Path) -> None:
        # Beside the environment and not in it: making one anew empties its folder.
        self._path = root / "data" / "setup.lock"

    def __enter__(self) -> IO[str]:
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        self._file = self._path.open("a", encoding="ascii")
        if not _try_lock(self._file):
            say("Another start is setting up the environment; waiting for it …")
            _wait_for_lock(self._file)
        return self._file

    def __exit__(self, *error: object) -> None:
        self._file.close()


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[str]) -> bool:
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _wait_for_lock(file: IO[str]) -> None:
        while True:
            file.seek(0)
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)  # Tries for ten seconds, then raises.
            except OSError:
                continue
            return

else:
    import fcntl

    def _try_lock(file: IO[str]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _wait_for_lock(file: IO[str]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)
