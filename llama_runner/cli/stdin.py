"""Reading standard input without holding up Ctrl+C."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from typing import Final

from llama_runner.core.errors import UsageError
from llama_runner.core.format import size

_STDIN_FD: Final = 0
_BLOCK_BYTES: Final = 64 * 1024
# A text longer than any context; a mistyped `query - < disk.img` must not fill the memory.
MAX_TEXT_BYTES: Final = 4 * 1024 * 1024


async def read_text() -> str:
    """Standard input as text. Raises UsageError when it cannot be read or is too long."""
    try:
        data = await read_stdin(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise UsageError("Standard input cannot be read.", "Give the text itself.") from error
    if len(data) > MAX_TEXT_BYTES:
        raise UsageError("The text is too long.", f"It may have {size(MAX_TEXT_BYTES)}.")
    return data.decode("utf-8", errors="replace")


async def read_stdin(max_bytes: int, *, fd: int = _STDIN_FD) -> bytes:
    """Standard input to its end, but no more than `max_bytes`."""
    return await _read(max_bytes, fd, lambda data: False)


async def read_line(max_bytes: int, *, fd: int = _STDIN_FD) -> bytes:
    """What a person typed until they pressed Enter, or what there was until the end."""
    return await _read(max_bytes, fd, lambda data: b"\n" in data)


async def _read(max_bytes: int, fd: int, is_enough: Callable[[bytes], bool]) -> bytes:
    """A daemon thread on a blocking read, as pipes and terminals can be waited for in no other way that works
    on Windows too; it reads the descriptor, as the lock of `sys.stdin` would hold up the interpreter's end.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bytes] = loop.create_future()

    def read() -> None:
        data = bytearray()
        error: OSError | None = None
        try:
            while len(data) < max_bytes and (block := os.read(fd, min(_BLOCK_BYTES, max_bytes - len(data)))):
                data += block
                if is_enough(block):
                    break
        except OSError as failure:
            error = failure
        # RuntimeError: the loop is closed already, nobody waits any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, done, bytes(data), error)

    threading.Thread(target=read, name="read-stdin", daemon=True).start()
    return await done


def _settle(done: "asyncio.Future[bytes]", data: bytes, error: OSError | None) -> None:
    if done.done():
        return
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(data)
