"""The llama-server in use, as the control API and `engines` show it."""

from llama_runner.control.values import EngineInfo
from llama_runner.core.errors import EngineError
from llama_runner.core.settings import RuntimeSettings
from llama_runner.runtime.engine import EngineProbes, find_engine


async def describe_engine(settings: RuntimeSettings, *, demo: bool, probes: EngineProbes) -> EngineInfo:
    """Which engine would be started now, or why there is none."""
    try:
        choice = find_engine(settings, demo=demo)
    except EngineError as error:
        return EngineInfo(problem=error.message, hint=error.hint)
    path, note = str(choice.path), choice.note or None
    try:
        version = (await probes.info(choice.path)).version
    except EngineError as error:
        return EngineInfo(path, choice.origin, None, note, problem=error.message, hint=error.hint)
    return EngineInfo(path, choice.origin, version, note)
