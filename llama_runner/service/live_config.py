"""The settings as the service sees them: the files, read again when they change, and the command line."""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from llama_runner.core.config import Loaded, get_setting, load_app_config, load_models_config
from llama_runner.core.fields import Section, all_settings
from llama_runner.core.paths import Home
from llama_runner.core.settings import AppConfig, EnginePath, ModelsConfig, ModelsDir, ProxySettings

log = logging.getLogger(__name__)

S = TypeVar("S", bound=Section)


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the command line says in place of the settings; None leaves the setting."""

    models_dir: Path | None = None
    engine: Path | None = None


NO_OVERRIDES: Final = Overrides()
# The others are read by programs of their own, at their starts.
_OF_THE_SERVICE: Final = ("service.control_", "logging.")


class Notices(Protocol):
    """Who shows a person what is the matter, as long as it is."""

    def notice(self, text: str) -> None:
        """Show a sentence."""
        ...

    def withdraw(self, text: str) -> None:
        """It is out of date."""
        ...


class _Watched(Generic[S]):
    """A configuration file, read again when its size or time changed.

    A file that breaks meanwhile changes nothing: defaults instead would close what is open.
    """

    def __init__(
        self,
        path: Path,
        load: Callable[[], Loaded[S]],
        notices: Notices,
        also: Callable[[S], tuple[str, ...]] = lambda value: (),
    ) -> None:
        self._path = path
        self._load = load
        self._notices = notices
        self._also = also
        self._told: tuple[str, ...] = ()
        self._stamp = self._look()
        first = self._load()
        self._value = first.value
        self._tell(first, ())

    def __call__(self) -> S:
        stamp = self._look()
        if stamp != self._stamp:
            # The stamp from before reading: a change while we read is seen next time.
            self._stamp = stamp
            loaded = self._load()
            self._value = self._value if loaded.unusable else loaded.value
            self._tell(loaded, self._also(self._value))
        return self._value

    def _look(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_size, status.st_mtime_ns

    def _tell(self, loaded: Loaded[S], more: tuple[str, ...]) -> None:
        """Say what is wrong with the file now, and no longer what was mended in it."""
        problems = (f"{problem.message} {problem.hint}".strip() for problem in loaded.problems)
        now = (*problems, *more)
        for text in self._told:
            if text not in now:
                self._notices.withdraw(text)
        for text in now:
            if text not in self._told:
                self._notices.notice(text)
        self._told = now


class LiveConfig:
    """Both configuration files of a home.

    Args:
        notices: Told of everything wrong in a file, and of changes that the service cannot follow.
    """

    def __init__(self, home: Home, overrides: Overrides, *, notices: Notices) -> None:
        self._overrides = overrides
        self._app = _Watched(
            home.app_config_file, lambda: load_app_config(home), notices, also=self._waits_for_a_start
        )
        self._models = _Watched(home.models_config_file, lambda: load_models_config(home), notices)
        self._started_with = self._app()

    def app(self) -> AppConfig:
        """The settings now."""
        return with_overrides(self._app(), self._overrides, sys.platform)

    def proxy(self) -> ProxySettings:
        """Of the settings now, what the proxy asks for with every request: nothing is overridden there."""
        return self._app().proxy

    def models(self) -> ModelsConfig:
        """The named models now."""
        return self._models()

    def _waits_for_a_start(self, now: AppConfig) -> tuple[str, ...]:
        """What was changed since the start and counts from the next one on."""
        keys = [
            info.key
            for info in all_settings(AppConfig)
            if info.applies == "start"
            and info.key.startswith(_OF_THE_SERVICE)
            and get_setting(now, info.key) != get_setting(self._started_with, info.key)
        ]
        return (f"Changed for the next start of the service: {', '.join(keys)}.",) if keys else ()


def with_overrides(config: AppConfig, overrides: Overrides, platform: str) -> AppConfig:
    """`config` with the paths of the command line in place, for `platform` as `sys.platform` spells it."""
    system = "windows" if platform == "win32" else "linux"
    changes: dict[str, EnginePath | ModelsDir | None] = {}
    if overrides.engine is not None:
        # Said for this time: no named engine counts before it.
        changes["engine"] = None
        changes["engine_path"] = config.runtime.engine_path.model_copy(update={system: str(overrides.engine)})
    if overrides.models_dir is not None:
        changes["models_dir"] = config.runtime.models_dir.model_copy(
            update={system: str(overrides.models_dir)}
        )
    return config.model_copy(update={"runtime": config.runtime.model_copy(update=changes)})
