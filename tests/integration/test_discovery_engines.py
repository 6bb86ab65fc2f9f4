"""Every engine that the metronome plays, with all its own endpoints: found as what it is."""

import asyncio
from contextlib import ExitStack
from pathlib import Path

from llama_runner.backends.base import Engine
from llama_runner.core.settings import DiscoverySettings
from llama_runner.discovery.networks import plan_scan
from llama_runner.discovery.registry import Certainty, ServerStatus
from llama_runner.net.addresses import port_of
from tests.fakes.metronome import start_metronome
from tests.integration.test_discovery import finder

# A plain OpenAI server tells no context length.
SILENT = Engine.OPENAI


async def test_every_engine_is_found_with_its_name_and_the_context_length_that_applies(home: Path) -> None:
    engines = [engine for engine in Engine if engine is not Engine.UNKNOWN]
    with ExitStack() as stack:
        started = [asyncio.to_thread(start_metronome, engine=str(engine)) for engine in engines]
        playing: dict[str, Engine] = {}
        for engine, metronome in zip(engines, await asyncio.gather(*started), strict=True):
            stack.callback(metronome.close)
            playing[metronome.url] = engine
        async with finder(home, DiscoverySettings()) as find:
            plan = plan_scan(
                DiscoverySettings(), hosts=["127.0.0.1"], ports=[port_of(url) for url in playing]
            )
            report = await find.manager.scan(plan)

    assert {record.base_url: record.engine for record in report.found} == playing
    for record in report.found:
        assert record.status is ServerStatus.ONLINE, record.problem
        assert record.certainty is not Certainty.GUESS
        model = next(model for model in record.models if model.id == "metronome")
        assert (model.context_length is not None) == (record.engine is not SILENT), record.product
        assert (model.context_source is None) == (model.context_length is None)
