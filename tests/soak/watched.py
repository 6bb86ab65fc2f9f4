"""The program as it is, with one addition: a service writes down how many tasks its loop has.

    python -m tests.soak.watched FILE serve …

No interface tells that, and only a soak wants to know.
"""

import asyncio
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llama_runner.__main__ import main
from llama_runner.service import app
from tests.soak.place import EVERY_S


def _write(loop: asyncio.AbstractEventLoop, file: Path) -> None:
    # Put in its place when it is whole: somebody may be reading.
    new = file.with_suffix(".new")
    new.write_text(str(len(asyncio.all_tasks(loop))))
    new.replace(file)
    loop.call_later(EVERY_S, _write, loop, file)


def _watch(file: Path) -> None:
    run_service = app.run_service

    @functools.wraps(run_service)
    async def watched(*args: Any, on_ready: Callable[..., None], **kwargs: Any) -> None:
        _write(asyncio.get_running_loop(), file)
        await run_service(*args, on_ready=on_ready, **kwargs)

    app.run_service = watched


if __name__ == "__main__":
    _watch(Path(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
