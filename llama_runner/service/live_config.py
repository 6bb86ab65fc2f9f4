"""The settings as the service sees them: the files, read again when they change, and the command line."""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from llama_runner.core.config import Loaded, load_app_config, load_models_config
from llama_runner.core.fields import Section
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


class _Watched(Generic[S]):
    """A configuration file, read again when its size or time changed.

    A file that breaks meanwhile changes nothing: defaults instead would close what is open.
    """

    def __init__(self, path: Path, load: Callable[[], Loaded[S]], on_problem: Callable[[str], None]) -> None:
        self._path = path
        self._load = load
        self._on_problem = on_problem
        self._stamp = self._look()
        self._value = self._read().value

    def __call__(self) -> S:
        stamp = self._look()
        if stamp != self._stamp:
            # The stamp from before reading: a change while we read is seen next time.
            self._stamp = stamp
            loaded = self._read()
            self._value = self._value if loaded.unusable else loaded.value
        return self._value

    def _look(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_size, status.st_mtime_ns

    def _read(self) -> Loaded[S]:
        loaded = self._load()
        for problem in loaded.problems:
            self._on_problem(f"{problem.message} {problem.hint}".strip())
        return loaded


class LiveConfig:
    """Both configuration files of a home.

    Args:
        on_problem: Told of everything wrong in a file, in sentences.
    """

    def __init__(self, home: Home, overrides: Overrides, *, on_problem: Callable[[str], None]) -> None:
        self._overrides = overrides
        self._app = _Watched(home.app_config_file, lambda: load_app_config(home), on_problem)
        self._models = _Watched(home.models_config_file, lambda: load_models_config(home), on_problem)

    def app(self) -> AppConfig:
        """The settings now."""
        return with_overrides(self._app(), self._overrides, sys.platform)

    def proxy(self) -> ProxySettings:
        """Of the settings now, what the proxy asks for with every request: nothing is overridden there."""
        return self._app().proxy

    def models(self) -> ModelsConfig:
        """The named models now."""
        return self._models()


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
