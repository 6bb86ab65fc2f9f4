"""F9: a service that was killed, and what the next one finds."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import psutil
import pytest

from llama_runner.core.paths import home_at
from llama_runner.runtime.orphans import record_path
from tests.fakes.fake_llama_server import fake_engine
from tests.fakes.gguf_files import good_file
from tests.integration.service_process import all_gone, started_service
from tests.integration.test_service_models import client_of, load_ready, name_models

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the fake engine is a shell script")


def _wrapped_engine(folder: Path) -> Path:
    """An engine behind a script that waits for it, as people write them. It does not look at its stdin."""
    engine = fake_engine(folder / "real", {"protocol": False})
    wrapper = folder / "llama-server"
    wrapper.write_text(f'#!/bin/sh\n"{engine}" "$@"\nexit $?\n')
    wrapper.chmod(0o755)
    return wrapper


async def test_f9_what_outlived_a_killed_service_is_ended_by_the_next_one(home: Path) -> None:
    model = home / "m.gguf"
    model.write_bytes(good_file())
    name_models(home, model, "m")
    engine = _wrapped_engine(home)
    with started_service(home, "--engine", str(engine)) as service:
        async with client_of(home) as client:
            ready = await load_ready(client, "m")
        script = psutil.Process(ready.pid or 0)
        (left,) = script.children()
        service.signal(signal.SIGKILL)
        service.wait()
        # The death signal of Linux ends the script, nobody tells the engine behind it.
        assert not all_gone([left], 0.5)
    with started_service(home, "--engine", str(engine)) as service:
        assert all_gone([left])
        async with client_of(home) as client:
            notices = (await client.health()).notices
            assert any("left behind were ended" in notice for notice in notices)
            again = await load_ready(client, "m")
            assert json.loads(record_path(home_at(home)).read_bytes())["mark"]
            family = psutil.Process(again.pid or 0).children()
            service.signal(signal.SIGTERM)
            await asyncio.to_thread(service.wait, 10)
        assert all_gone(family)
    assert not record_path(home_at(home)).exists()
