"""A virtual screen with a window manager: Xvfb on a free display number, and openbox on it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

SIZE: Final = (1280, 800)
END_S: Final = 20.0


def is_available() -> bool:
    """Whether this machine has what a virtual screen takes."""
    return all(shutil.which(program) for program in ("Xvfb", "openbox"))


@contextmanager
def virtual_screen(width: int = SIZE[0], height: int = SIZE[1]) -> Iterator[str]:
    """The name of a display of its own (":7"), gone when the block ends."""
    with ExitStack() as stack:
        reader, writer = os.pipe()
        stack.callback(os.close, reader)
        # -displayfd picks a free number and tells it once the screen can be used.
        server = subprocess.Popen(
            ["Xvfb", "-displayfd", str(writer), "-screen", "0", f"{width}x{height}x24", "-nolisten", "tcp"],
            pass_fds=(writer,),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(_end, server)
        os.close(writer)
        number = os.read(reader, 16).decode().strip()
        if not number:
            raise RuntimeError("Xvfb did not start")
        display = f":{number}"
        manager = subprocess.Popen(
            ["openbox"],
            env={**os.environ, "DISPLAY": display},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(_end, manager)
        yield display


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
