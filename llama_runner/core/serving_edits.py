"""Routes and engines added, changed and taken out of the settings: one set of rules for commands and window.

Pure: whether an engine works is asked elsewhere (`runtime.engines.usable`), what is made is saved through
`system.config_changes`.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from llama_runner.core.consistency import BUILT_IN_ENGINES
from llama_runner.core.errors import NotFoundError, UsageError
from llama_runner.core.fields import STEP, BadText
from llama_runner.core.option_types import check_engine_name
from llama_runner.core.settings import AppConfig, NamedEngine, RouteEntry, RuntimeSettings
from llama_runner.core.text import visible_controls

# As long as a name that is looked up (safety H17).
MAX_ROUTE_NAME_CHARS: Final = 512
MAX_ROUTE_STEPS: Final[int] = RouteEntry.model_json_schema()["properties"]["steps"]["maxItems"]
DEFAULT_ENGINE: Final = BUILT_IN_ENGINES[0]


def check_route_name(name: str) -> str:
    """`name` when a route can have it. Raises UsageError."""
    if not name.strip() or len(name) > MAX_ROUTE_NAME_CHARS or not name.isprintable():
        raise UsageError("That is no name for a route.", "Use letters, digits and signs.")
    return name


def check_route_steps(steps: Sequence[str]) -> RouteEntry:
    """A route of these steps. Raises UsageError."""
    try:
        return RouteEntry(steps=tuple(steps))
    except ValidationError as error:
        raise UsageError(
            f"A route has at most {MAX_ROUTE_STEPS} steps, and each must be {STEP.words}.",
            "Nothing was changed.",
        ) from error


def with_route(config: AppConfig, name: str, steps: Sequence[str]) -> AppConfig:
    """The settings with this route, in place of the one that had its name. Raises UsageError."""
    entry = check_route_steps(steps)
    return _with_routes(config, {**config.proxy.routes, check_route_name(name): entry})


def without_route(config: AppConfig, name: str) -> AppConfig:
    """The settings without this route. Raises NotFoundError."""
    if name not in config.proxy.routes:
        raise NotFoundError(f"There is no route {visible_controls(name, 100)!r}.", "See `routes list`.")
    return _with_routes(config, {one: entry for one, entry in config.proxy.routes.items() if one != name})


def _with_routes(config: AppConfig, routes: Mapping[str, RouteEntry]) -> AppConfig:
    return config.model_copy(update={"proxy": config.proxy.model_copy(update={"routes": routes})})


def check_new_engine_name(name: str) -> str:
    """`name` when a person may give it to an engine. Raises UsageError."""
    try:
        check_engine_name(name)
    except BadText as error:
        raise UsageError(f"The name of an engine must be {error}.", "Choose another.") from error
    if name in BUILT_IN_ENGINES:
        raise UsageError(f"{name} means an engine already.", "Choose another name.")
    return name


def with_engine(
    config: AppConfig, name: str, path: str, supports_tools: bool | None, *, platform: str = sys.platform
) -> AppConfig:
    """The settings with this engine, in place of the one that had its name. Raises UsageError.

    Args:
        path: A full path on this system; that of the other system stays.
        supports_tools: Whether it can make models call tools; None looks at its own --help.
    """
    known = config.runtime.engines.get(check_new_engine_name(name), NamedEngine())
    system = "windows" if platform == "win32" else "linux"
    try:
        entry = NamedEngine.model_validate({**dict(known), system: path, "supports_tools": supports_tools})
    except ValidationError as error:
        raise UsageError(
            f"{visible_controls(path, 200)} cannot be the path of an engine.",
            "Give a full path on this machine, in plain characters.",
        ) from error
    return with_named_engine(config, name, entry)


def with_named_engine(config: AppConfig, name: str, entry: NamedEngine) -> AppConfig:
    """The settings with an engine that was in them before: nothing of it is checked again."""
    return _with_runtime(config, engines={**config.runtime.engines, name: entry})


def without_engine(config: AppConfig, name: str) -> AppConfig:
    """The settings without this engine; the default one is used where it was. Raises NotFoundError."""
    if name not in config.runtime.engines:
        raise no_such_engine(config.runtime, name)
    engines = {one: entry for one, entry in config.runtime.engines.items() if one != name}
    used = config.runtime.engine
    return _with_runtime(config, engines=engines, engine=None if used == name else used)


def using_engine(config: AppConfig, name: str) -> AppConfig:
    """The settings in which this engine runs models that name none. Raises NotFoundError."""
    if name != DEFAULT_ENGINE and name not in config.runtime.engines:
        raise no_such_engine(config.runtime, name)
    return _with_runtime(config, engine=None if name == DEFAULT_ENGINE else name)


def no_such_engine(settings: RuntimeSettings, name: str) -> NotFoundError:
    """What to say when a person names an engine that is not there."""
    known = ", ".join(settings.engines) or "none"
    return NotFoundError(
        f"There is no engine {visible_controls(name, 80)!r}.", f"Named engines: {known}. See `engines add`."
    )


def _with_runtime(config: AppConfig, **changes: Any) -> AppConfig:
    return config.model_copy(update={"runtime": config.runtime.model_copy(update=changes)})
