"""Reading standard input without holding up Ctrl+C."""

import asyncio
import contextlib
import os
import threading
from typing import Final

_STDIN_FD: Final = 0
_BLOCK_BYTES: Final = 64 * 1024


async def read_stdin(max_bytes: int, *, fd: int = _STDIN_FD) -> bytes:
    """Standard input to its end, but no more than `max_bytes`.

    A daemon thread on a blocking read, as pipes and terminals can be waited for in no other way that works
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
