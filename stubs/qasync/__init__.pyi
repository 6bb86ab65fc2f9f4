import asyncio
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from PySide6.QtCore import QCoreApplication
from typing_extensions import Self

_P = ParamSpec("_P")
_R = TypeVar("_R")

if sys.platform == "win32":
    _Base = asyncio.ProactorEventLoop
else:
    _Base = asyncio.SelectorEventLoop

class QEventLoop(_Base):
    def __init__(
        self, app: QCoreApplication | None = None, set_running_loop: bool = False, already_running: bool = False
    ) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *args: object) -> None: ...

class QThreadExecutor:
    def __init__(self, max_workers: int = 10, stack_size: int | None = None) -> None: ...
    def shutdown(self, wait: bool = True) -> None: ...

def asyncClose(fn: Callable[..., Any]) -> Callable[..., Any]: ...
def asyncSlot(*args: Any, **kwargs: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]: ...
async def asyncWrap(fn: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R: ...
def run(*args: Any, **kwargs: Any) -> Any: ...
