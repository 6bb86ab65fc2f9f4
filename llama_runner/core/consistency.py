"""What the two configuration files say of each other: names that lead nowhere. Pure; nothing is changed."""

from collections.abc import Iterator, Mapping
from typing import Final

from llama_runner.core.fields import BadText
from llama_runner.core.load_options import LoadOptions
from llama_runner.core.option_types import check_engine_name
from llama_runner.core.settings import AppConfig, ModelEntry, ModelsConfig, RuntimeSettings
from llama_runner.core.text import visible_controls
from llama_runner.core.validation import MAX_PROBLEMS, Problem, Severity

# Engines that have a name without being in the settings.
BUILT_IN_ENGINES: Final = ("default", "demo")


def inconsistencies(app: AppConfig, models: ModelsConfig) -> tuple[Problem, ...]:
    """Names that nothing has: engines, profiles, machines. At most `MAX_PROBLEMS`."""
    found = [*_of_engines(app.runtime)]
    for name, entry in models.models.items():
        found += _of_model(f"models.{visible_controls(name)}", entry, app.runtime)
    return tuple(found[:MAX_PROBLEMS])


def _of_engines(runtime: RuntimeSettings) -> Iterator[Problem]:
    if runtime.engine is not None and not _is_engine(runtime.engine, runtime):
        yield _problem(
            "runtime.engine",
            f"runtime.engine names the engine {runtime.engine}, which is not among runtime.engines.",
            "Add it with `engines add`, or choose another with `engines use`.",
        )
    for name in runtime.engines:
        key = f"runtime.engines.{visible_controls(name)}"
        if name in BUILT_IN_ENGINES or not _can_be_chosen(name):
            yield _problem(
                key,
                f"{key} has a name that cannot be chosen.",
                "Give it another: letters, digits and . _ - only, and neither default nor demo.",
            )


def _of_model(key: str, entry: ModelEntry, runtime: RuntimeSettings) -> Iterator[Problem]:
    if entry.default_profile is not None and entry.default_profile not in entry.profiles:
        yield _problem(
            f"{key}.default_profile",
            f"{key}.default_profile names {visible_controls(entry.default_profile, 64)}, no profile of it.",
            "Save that profile, or choose another with `profiles default`.",
        )
    ways: Mapping[str, LoadOptions] = {
        f"{key}.parameters": entry.parameters,
        **{f"{key}.profiles.{visible_controls(name)}": options for name, options in entry.profiles.items()},
    }
    for where, options in ways.items():
        if options.engine is not None and not _is_engine(options.engine, runtime):
            yield _problem(
                f"{where}.engine",
                f"{where}.engine names {options.engine}, which is not among runtime.engines.",
                "Add it with `engines add`, or name another.",
            )
        for worker in options.rpc_workers or ():
            if worker not in runtime.rpc_workers:
                yield _problem(
                    f"{where}.rpc_workers",
                    f"{where}.rpc_workers names {worker}, which is not among runtime.rpc_workers.",
                    "Add it there, if that machine is yours and its network is trusted.",
                )


def _is_engine(name: str, runtime: RuntimeSettings) -> bool:
    return name in BUILT_IN_ENGINES or name in runtime.engines


def _can_be_chosen(name: str) -> bool:
    try:
        check_engine_name(name)
    except BadText:
        return False
    return True


def _problem(key: str, message: str, hint: str) -> Problem:
    return Problem(Severity.WARNING, key, message, hint)
