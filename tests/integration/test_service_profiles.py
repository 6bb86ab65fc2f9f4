"""Profiles, engines and plans through the service and the commands, as a person uses them."""

import asyncio
import json
from pathlib import Path
from typing import Any

from llama_runner.control.client import ControlClient
from llama_runner.control.values import Instance
from llama_runner.core.errors import NotFoundError
from llama_runner.core.load_options import LoadOptions
from llama_runner.core.paths import create_folders, home_at
from llama_runner.net.client import open_http
from tests.fakes.gguf_files import write_tiny_llama
from tests.integration.service_process import run_to_end, started_service

SMALL = LoadOptions(context_length=256, threads=1, parallel=1, warmup=False)


def command(home: Path, *argv: str) -> Any:
    code, text, errors = run_to_end([*argv, "--json", "--home", str(home)])
    assert code == 0, text + errors
    return json.loads(text)


async def test_a_profile_saved_by_one_way_in_is_used_by_the_others(
    home: Path, engine: Path, demo_model: Path
) -> None:
    create_folders(home_at(home))
    (home / "data" / "models").mkdir(exist_ok=True)
    write_tiny_llama(home / "data" / "models" / "tiny.gguf", demo_model)
    with started_service(home, "--engine", str(engine)) as service:
        async with open_http() as http:
            client = ControlClient(url=service.url, token=service.run_file.token, http=http)
            await client.save_profile("tiny", "my own", SMALL)
            listed = await asyncio.to_thread(command, home, "profiles", "default", "tiny", "my own")
            assert listed["profiles"]["my own"]["context_length"] == 256
            assert (await client.profiles("tiny")).default == "my own"
            plan = await client.plan("tiny")
            assert plan.profile == "my own" and plan.fits
            assert [part.name for part in plan.parts] == ["weights", "context", "work"]
            assert sum(part.ram_bytes for part in plan.parts) == plan.need_bytes
            assert plan.command[0] == str(engine) and "256" in plan.command
            ready = await loaded(client, LoadOptions(context_length=512))
            assert (ready.profile, ready.engine) == ("my own", "default")
            activity = await client.activity("tiny")
            assert (activity.model, activity.slots, activity.slot_context) == ("tiny", 1, 512)
            anew = await client.load("tiny", reload=True)
            assert anew.id != ready.id and anew.profile == "my own"
            # What was learned of a load is for that way to load only.
            assert (await client.plan("tiny", LoadOptions(context_length=512))).measured
            assert not (await client.plan("tiny", LoadOptions(context_length=1024))).measured
            (found,) = (await client.engines()).engines
            assert (found.path, found.used, found.supports_tools) == (str(engine), True, True)
            await refused(client)


async def loaded(client: ControlClient, options: LoadOptions) -> Instance:
    await client.load("tiny", options)
    seen = await client.instances()
    while seen.instances[0].state != "ready":
        seen = await client.instances(after=seen.revision, wait_s=10)
    return seen.instances[0]


async def refused(client: ControlClient) -> None:
    for ask in (
        client.load("tiny", profile="none such"),
        client.plan("tiny", LoadOptions(engine="none-such")),
        client.remove_profile("tiny", "none such"),
        client.activity("none-such"),
    ):
        try:
            await ask
        except NotFoundError as error:
            assert error.hint
        else:
            raise AssertionError("nothing was refused")
