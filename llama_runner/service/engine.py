"""The llama-servers to choose from, as the control API and `engines` show them."""

import asyncio

from llama_runner.control.serving import EngineList
from llama_runner.control.values import EngineInfo
from llama_runner.core.load_options import NO_OPTIONS
from llama_runner.core.settings import RuntimeSettings
from llama_runner.runtime.engine import EngineProbes
from llama_runner.runtime.engines import EngineReport, engine_name, names, report


async def describe_engine(
    settings: RuntimeSettings, *, demo: bool, probes: EngineProbes, name: str | None = None
) -> EngineInfo:
    """One engine, or why it cannot be used.

    Args:
        name: None for the one that models use which name none.
    """
    chosen = name or engine_name(settings, NO_OPTIONS, demo=demo)
    return engine_view(await report(settings, chosen, probes, demo=demo))


def engine_view(found: EngineReport) -> EngineInfo:
    """One engine, as it is told."""
    return EngineInfo(
        path=found.path,
        origin=found.origin,
        version=found.version,
        note=found.note,
        problem=found.problem,
        hint=found.hint,
        name=found.name,
        used=found.used,
        supports_tools=found.supports_tools,
        lacks=found.lacks,
    )


async def describe_engines(settings: RuntimeSettings, *, demo: bool, probes: EngineProbes) -> EngineList:
    """Every engine there is to choose from."""
    found = (describe_engine(settings, demo=demo, probes=probes, name=name) for name in names(settings))
    return EngineList(tuple(await asyncio.gather(*found)))
