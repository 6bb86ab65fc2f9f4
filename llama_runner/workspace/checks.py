"""The checks of `doctor`, one function each: what was found, how bad it is, what to do.

Changes nothing. An error is what keeps the program from working; everything else it can live with.
"""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Final

from llama_runner.control.runfile import running_service
from llama_runner.core.config import Problem, Severity
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.format import size
from llama_runner.core.load_options import NO_OPTIONS
from llama_runner.core.paths import Home
from llama_runner.core.settings import AppConfig
from llama_runner.net.connect import tcp_open
from llama_runner.runtime.catalogue import DEMO_MODEL_PACKAGE, ModelFile
from llama_runner.runtime.engine import DEMO_PACKAGE, engine_version
from llama_runner.runtime.engines import choose_engine, engine_name
from llama_runner.system.display import has_display
from llama_runner.system.identity import listener_of
from llama_runner.system.screen_libraries import missing_screen_libraries
from llama_runner.telemetry.nvidia import NvidiaSampler

# Logs, a saved stress run and a conversation fit; a model does not, but that is the user's own choice.
LOW_DISK_BYTES: Final = 1 << 30
# Listening ports of this machine answer at once or not at all.
PORT_TIMEOUT_S: Final = 0.5

# What the figures depend on most; named in bug reports.
_PACKAGES: Final = ("PySide6_Essentials", "qasync", "aiohttp", "httpx", "httpx-aiohttp", "numpy", "pydantic")
_PACKAGES_MORE: Final = ("pyqtgraph", "psutil", "nvidia-ml-py", "starlette", "uvicorn")

# They change which code runs inside our process, and are nothing this program asks for (safety A7).
_INTRUDING_VARIABLES: Final = ("LD_PRELOAD", "PYTHONHOME", "PYTHONPATH")


class Status(StrEnum):
    """How a check ended; error means that the program cannot work as it is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        detail: What was found, in one sentence.
        fix: What to do about it; empty when there is nothing to do.
    """

    name: str
    status: Status
    detail: str
    fix: str = ""


def worst(checks: list[Check]) -> Status:
    """The worst status of them all."""
    found = {check.status for check in checks}
    return next((status for status in (Status.ERROR, Status.WARNING) if status in found), Status.OK)


# --- the program itself ------------------------------------------------------------------------------------


def package_versions() -> dict[str, str | None]:
    """Installed versions of the packages that matter most."""
    return {name: _version_of(name) for name in (*_PACKAGES, *_PACKAGES_MORE)}


def pyside_version() -> tuple[int, ...]:
    """Version of PySide6 as numbers, empty when it is not installed."""
    text = _version_of(_PACKAGES[0])
    return tuple(int(part) for part in (text or "").split(".") if part.isdigit())


def _version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def check_python(python: tuple[int, ...], pyside: tuple[int, ...]) -> Check:
    """The interpreter, and the one combination that must not run."""
    text = "Python " + ".".join(map(str, python))
    if python < (3, 12) and pyside >= (6, 12):
        return Check(
            "python",
            Status.ERROR,
            f"{text} with PySide6 6.12 or newer ends the program after some minutes.",
            "Install requirements.lock again with scripts/run.py, or use Python 3.12 or newer.",
        )
    return Check("python", Status.OK, f"{text} at {sys.executable}.")


def check_packages(versions: Mapping[str, str | None]) -> list[Check]:
    """One error that names what is missing; nothing when all is there."""
    missing = [name for name, version in versions.items() if version is None]
    # A packaged program carries the modules without their descriptions.
    if not missing or getattr(sys, "frozen", False):
        return []
    fix = "Start it with scripts/run.py, which installs what is missing."
    return [Check("packages", Status.ERROR, f"Not installed: {', '.join(missing)}.", fix)]


def check_user(is_root: bool) -> Check:
    """A8: it works as root, and nobody should."""
    if not is_root:
        return Check("user", Status.OK, "Running as an ordinary user.")
    return Check(
        "user",
        Status.WARNING,
        "Running as root: a fault in a model server would have all rights. Listeners stay on this machine.",
        "Run it as an ordinary user.",
    )


def check_environment(env: Mapping[str, str]) -> Check:
    """A7: variables that make other code run inside this program."""
    found = [name for name in _INTRUDING_VARIABLES if env.get(name)]
    if found:
        names = ", ".join(found)
        return Check("environment", Status.WARNING, f"{names} can make this program fail.", f"Unset {names}.")
    return Check(
        "environment", Status.OK, "No variable interferes; proxies and other Qt plugins are not used."
    )


def check_display(env: Mapping[str, str], platform: str) -> Check:
    """Whether a window can open, and what Qt would lack."""
    if not has_display(env, platform):
        fix = "Use the commands or --headless, or set DISPLAY."
        return Check("display", Status.WARNING, "There is no display, so no window can open.", fix)
    missing = missing_screen_libraries() if platform == "linux" else {}
    if missing:
        fix = f"On Debian and Ubuntu: sudo apt-get install {' '.join(missing.values())}"
        return Check("display", Status.WARNING, f"The window may lack {', '.join(missing)}.", fix)
    return Check("display", Status.OK, "A window can open.")


# --- its home ----------------------------------------------------------------------------------------------


def _folders(home: Home) -> tuple[tuple[str, Path], ...]:
    return (
        ("config folder", home.config_dir),
        ("logs folder", home.logs_dir),
        ("data folder", home.data_dir),
    )


def check_folder(name: str, folder: Path) -> Check:
    """Whether files can be written there, and whether there is room for them."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        fix = "Make the folder writable, or choose another with --home."
        return Check(name, Status.ERROR, f"{folder} cannot be written: {error.strerror or error}.", fix)
    detail = f"{folder}, {size(free_bytes)} free."
    if free_bytes < LOW_DISK_BYTES:
        return Check(name, Status.WARNING, detail, "Make room on this disk: little can be saved.")
    return Check(name, Status.OK, detail)


def check_settings(problems: tuple[Problem, ...]) -> list[Check]:
    """C1 to C9: a bad setting never stops the program, its default applies; so nothing here is an error."""
    if not problems:
        return [Check("settings", Status.OK, "Both configuration files are fine.")]
    return [
        Check(
            "settings",
            Status.OK if problem.severity is Severity.NOTICE else Status.WARNING,
            problem.message if problem.key in problem.message else f"{problem.key}: {problem.message}",
            problem.hint,
        )
        for problem in problems
    ]


async def check_control_port(home: Home, config: AppConfig) -> Check:
    """F12: whether the service can listen where it is told to, or already does."""
    name, host, port = "control port", config.service.control_host, config.service.control_port
    running = running_service(home)
    if running is not None:
        return Check(name, Status.OK, f"The service runs at {running.url} (pid {running.pid}).")
    if port == 0 or not await tcp_open(host, port, PORT_TIMEOUT_S):
        return Check(name, Status.OK, f"Port {port} is free." if port else "The service takes any free port.")
    holder = await asyncio.to_thread(listener_of, port)
    who = holder.name if holder and holder.name else "another program"
    pid = f" (pid {holder.pid})" if holder and holder.pid else ""
    return Check(
        name,
        Status.WARNING,
        f"Port {port} is in use by {who}{pid}.",
        "Stop that program, or set another service.control_port; until then the window takes a free port.",
    )


async def check_engine(config: AppConfig, *, demo: bool, env: Mapping[str, str], platform: str) -> Check:
    """Which llama-server would be run, and whether it answers."""
    try:
        name = engine_name(config.runtime, NO_OPTIONS, demo=demo)
        choice = choose_engine(config.runtime, name, demo=demo, env=env, platform=platform)
        version = await engine_version(choice.path)
    except LlamaRunnerError as error:
        return Check("engine", Status.WARNING, error.message, error.hint)
    detail = f"{choice.path} ({choice.origin}), version {version or 'unknown'}. {choice.note}".rstrip()
    if config.runtime.engine_path.on(platform) and choice.origin != "configured" and not demo:
        fix = "Correct runtime.engine_path, or leave it empty."
        return Check("engine", Status.WARNING, detail, fix)
    return Check("engine", Status.OK, detail)


def check_models(folder: Path, *, configured: str, models: tuple[ModelFile, ...]) -> Check:
    """What there is to load."""
    usable = [model for model in models if model.problem is None]
    detail = f"{folder}: {len(usable)} usable model{'s' * (len(usable) != 1)}."
    if configured and Path(configured) != folder:
        detail = f"The configured folder {configured} is not there. {detail}"
    broken = [model for model in models if model.problem is not None]
    fix = ""
    if broken:
        detail += f" Not usable: {broken[0].problem}"
        fix = f"`llama-runner models` names {len(broken) - 1} more." if len(broken) > 1 else ""
    if not usable and not fix:
        fix = "Put GGUF files there, set runtime.models_dir, or start once with --demo."
    return Check("models", Status.OK if usable and not broken else Status.WARNING, detail, fix)


# --- extras ------------------------------------------------------------------------------------------------


def check_demo(engine: Path | None, model: Path | None) -> Check:
    """The demo engine and model: wanted by nobody who has their own."""
    parts = {DEMO_PACKAGE: engine, DEMO_MODEL_PACKAGE: model}
    missing = [name for name, path in parts.items() if path is None]
    if missing:
        detail = f"Not installed: {', '.join(missing)}."
        # The packaged program installs nothing into itself.
        fix = "" if getattr(sys, "frozen", False) else "To try them: python3 scripts/run.py --demo"
        return Check("demo", Status.OK, detail, fix)
    return Check("demo", Status.OK, "The demo engine and the demo model are installed.")


def check_gpu() -> Check:
    """The graphics cards that can be read."""
    sampler = NvidiaSampler()
    try:
        cards = sampler.read()
        note = sampler.note
    finally:
        sampler.close()
    if not cards:
        return Check("gpu", Status.OK, note or "No graphics card was found.")
    names = ", ".join(f"{card.name} ({size(card.vram_total_bytes)})" for card in cards)
    return Check("gpu", Status.OK, f"{names}.")
