"""`--selftest`: whether this installation or package is whole. Uses a home of its own, leaves nothing behind.

Imports every module, starts and stops the service, opens and closes the window off screen.
"""

import asyncio
import importlib
import os
import pkgutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

import llama_runner

_OTHER_SYSTEM: Final = "llama_runner.system." + ("_posix" if sys.platform == "win32" else "_windows")


def run_selftest() -> int:
    """Run every step and tell how each went, on stderr; 0 when all succeeded."""
    with tempfile.TemporaryDirectory(prefix="llama-runner-selftest-") as folder:
        home = Path(folder)
        (home / "config").mkdir()
        # Any free port: a service of the user's own may be running.
        (home / "config" / "app_config.json").write_text('{"version": 1, "service": {"control_port": 0}}')
        steps: tuple[tuple[str, Callable[[], object]], ...] = (
            ("imports", import_everything),
            ("service", lambda: asyncio.run(start_and_stop_service(home))),
            ("window", lambda: open_and_close_window(home)),
        )
        results = [_succeeds(name, step) for name, step in steps]
    return 0 if all(results) else 1


def _succeeds(name: str, step: Callable[[], object]) -> bool:
    started = time.monotonic()
    try:
        step()
    except Exception:  # noqa: BLE001 - whatever is broken, the other steps still have something to tell
        sys.stderr.write(f"selftest: {name} FAILED\n{traceback.format_exc()}")
        return False
    sys.stderr.write(f"selftest: {name} ok ({time.monotonic() - started:.1f} s)\n")
    return True


def import_everything() -> int:
    """Import every module that this system can; how many the package has."""
    names = [module.name for module in pkgutil.walk_packages(llama_runner.__path__, "llama_runner.")]
    for name in names:
        if name != _OTHER_SYSTEM:
            importlib.import_module(name)
    return len(names)


async def start_and_stop_service(home: Path) -> None:
    """Start the service as the window does, ask it how it is, end it."""
    from llama_runner.control.launcher import start_owned
    from llama_runner.core.paths import current_home
    from llama_runner.net.client import open_http

    async with open_http() as http:
        service = await start_owned(current_home(home), http=http)
        try:
            await service.client.health()
        finally:
            await service.close()


def open_and_close_window(home: Path) -> None:
    """Open the window off screen and close it after its first paint. Raises RuntimeError when that fails."""
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    from llama_runner.cli.app import split_common
    from llama_runner.ui.app import MEASURE_VARIABLE, run_window

    os.environ[MEASURE_VARIABLE] = "1"
    options, _ = split_common(["--home", str(home)])
    code = run_window(options)
    if code != 0:
        raise RuntimeError(f"the window ended with exit code {code}")
