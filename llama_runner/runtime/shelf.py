"""The engines that models are loaded with: which one, what it can do, what its command line would be."""

import asyncio
from collections.abc import Callable

from llama_runner.core.errors import EngineError
from llama_runner.core.paths import Home
from llama_runner.core.settings import AppConfig
from llama_runner.runtime.argv import build_argv
from llama_runner.runtime.engine import EngineInfo, EngineProbes
from llama_runner.runtime.engine_book import EngineBook
from llama_runner.runtime.engines import choose_engine
from llama_runner.runtime.wanted import Wanted


class EngineShelf:
    """Asks each program once, and notes which ones were run.

    Args:
        notice: Told in a sentence what a person should know of an engine.
    """

    def __init__(
        self, *, config: Callable[[], AppConfig], home: Home, demo: bool, notice: Callable[[str], None]
    ) -> None:
        self._config = config
        self._demo = demo
        self._notice = notice
        self._probes = EngineProbes()
        self._book = EngineBook(home)

    async def engine_for(self, wanted: Wanted) -> EngineInfo:
        """What would run it. Raises NotFoundError, EngineError."""
        settings = self._config().runtime
        choice = await asyncio.to_thread(choose_engine, settings, wanted.engine, demo=self._demo)
        return await self._probes.info(choice.path)

    async def note(self, engine: EngineInfo) -> None:
        """It is run; what changed since it last was is told."""
        if told := await asyncio.to_thread(self._book.look, engine):
            self._notice(told)

    async def command(self, wanted: Wanted) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The command line it would be started with, and what is wrong when there is no engine to start.

        The port is 0 and the key, which goes by environment, none of it.

        Raises UsageError: The engine does not know an option.
        """
        try:
            engine = await self.engine_for(wanted)
        except EngineError as error:
            return (), (f"{error.message} {error.hint}",)
        launch = build_argv(
            engine.path,
            engine.flags,
            wanted.model.path,
            wanted.options,
            port=0,
            alias=wanted.model.id,
            api_key="",
        )
        return launch.argv, ()
