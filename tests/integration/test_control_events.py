"""What a real service tells over its WebSockets while things happen, and what stays untouched by it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import httpx
import pytest

from llama_runner.control.client import ControlClient
from llama_runner.core.errors import ConfigError, RefusedError
from llama_runner.core.paths import create_folders, home_at
from llama_runner.net.client import open_http
from llama_runner.system.config_changes import change_app_config
from tests.fakes.gguf_files import write_tiny_llama
from tests.fakes.listening import answers, occupied_port
from tests.integration.service_process import ServiceProcess, started_service

LIMIT_S: Final = 30.0
OPTIONS: Final = {"context_length": 256, "threads": 1, "parallel": 1}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("tiny") / "tiny.gguf", demo_model)


@pytest.fixture
def service(tmp_path: Path, tiny: Path) -> Iterator[ServiceProcess]:
    home = home_at(tmp_path)
    create_folders(home)
    write_models(tmp_path, tiny, OPTIONS)
    home.app_config_file.write_text(json.dumps({"version": 1, "monitor": {"interval_s": 0.2}}))
    with started_service(tmp_path, "--demo", "--openai", "127.0.0.1:0") as one:
        yield one


def write_models(home: Path, tiny: Path, options: dict[str, Any]) -> None:
    models = {"tiny": {"path": str(tiny), "parameters": options}}
    home_at(home).models_config_file.write_text(json.dumps({"version": 1, "models": models}))


@dataclass
class Ear:
    """A reader of a socket that remembers what it heard."""

    socket: aiohttp.ClientWebSocketResponse
    heard: list[dict[str, Any]] = field(default_factory=list)

    async def until(self, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The next message that `wanted` likes."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                self.heard.append(await self.socket.receive_json())
                if wanted(self.heard[-1]):
                    return self.heard[-1]


@asynccontextmanager
async def ear(service: ServiceProcess, path: str = "events") -> AsyncIterator[Ear]:
    headers = {"Authorization": f"Bearer {service.run_file.token}", "Origin": service.url}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{service.url}/api/v1/{path}", headers=headers) as socket,
    ):
        yield Ear(socket)


@asynccontextmanager
async def control(service: ServiceProcess) -> AsyncIterator[ControlClient]:
    async with open_http() as http:
        yield ControlClient(url=service.url, token=service.run_file.token, http=http)


def kind(name: str) -> Callable[[dict[str, Any]], bool]:
    return lambda message: message["event"] == name


def state(name: str) -> Callable[[dict[str, Any]], bool]:
    return lambda message: (
        message["event"] == "instances" and any(one["state"] == name for one in message["instances"])
    )


async def ask(service: ServiceProcess) -> httpx.Response:
    body = {"model": "tiny", "prompt": "x", "max_tokens": 4, "temperature": 0}
    async with httpx.AsyncClient(timeout=60) as http:
        return await http.post(f"{service.ready['openai']}/v1/completions", json=body)


async def test_loads_requests_settings_and_notices_are_told_as_they_come(service: ServiceProcess) -> None:
    async with ear(service) as events, ear(service, "metrics") as metrics, control(service) as client:
        assert (await events.until(kind("health")))["health"]["status"] == "ok"
        assert (await events.until(kind("instances")))["instances"] == []

        assert (await ask(service)).status_code == 200
        ready = await events.until(state("ready"))
        steps = [m["instances"][0]["state"] for m in events.heard if kind("instances")(m) and m["instances"]]
        assert steps[0] == "starting" and steps[-1] == "ready"
        done = await events.until(
            lambda m: m["event"] == "requests" and m["requests"][-1]["outcome"] == "done"
        )
        record = done["requests"][-1]
        assert (record["model"], record["status"]) == ("tiny", 200) and record["load_s"] > 0

        told = await metrics.until(lambda m: m["instances"])
        assert told["host"]["ram_used_bytes"] > 0
        (instance,) = told["instances"]
        assert instance["id"] == ready["instances"][0]["id"]
        await metrics.until(lambda m: m["instances"][0]["ram_bytes"])

        # Somebody changes the file, and tells nobody.
        await asyncio.to_thread(change_app_config, home_at(service.home), {"stress.concurrency": 9})
        settings = await events.until(kind("settings"))
        assert settings["state"]["settings"]["stress"]["concurrency"] == 9

        with occupied_port() as port:
            changed = await client.change_settings(
                {"proxy.ollama_enabled": True, "proxy.ollama_port": port, "chat.temperature": None}
            )
            assert [one.applies for one in changed.changed] == ["now", "now", "now"]
            health = await events.until(lambda m: m["event"] == "health" and m["health"]["notices"])
            assert str(port) in health["health"]["ollama"]["problem"]
        assert (await client.reload()).ollama.url is not None
        await events.until(lambda m: m["event"] == "health" and not m["health"]["notices"])

        await client.shutdown()
        async with asyncio.timeout(LIMIT_S):
            while not (await events.socket.receive()).type.name.startswith("CLOS"):
                pass
        assert events.socket.close_code in (1001, 1012)


async def test_many_changes_in_a_row_end_in_the_newest_state(service: ServiceProcess) -> None:
    """W6: nothing is kept for a reader; steps may be missed, the last one never."""
    async with ear(service) as events, control(service) as client:
        await events.until(kind("instances"))
        for number in range(1, 40):
            await client.change_settings({"stress.requests": number})
        last = await events.until(
            lambda m: m["event"] == "settings" and m["state"]["settings"]["stress"]["requests"] == 39
        )
        assert last["state"]["problems"] == []
        told = [m["state"]["settings"]["stress"]["requests"] for m in events.heard if kind("settings")(m)]
        assert told[1:] == sorted(set(told[1:]))


async def test_settings_over_the_api_are_checked_and_take_no_paths(service: ServiceProcess) -> None:
    """C5, I9, I14, I16."""
    async with control(service) as client:
        before = home_at(service.home).app_config_file.read_bytes()
        wrong: tuple[dict[str, Any], ...] = (
            {"stress.requests": 0},
            {"stress.requests": "8"},
            {"stress.requests": 8, "service.control_host": "0.0.0.0"},
            {"nonsense": 1},
            {"runtime": {}},
            {"proxy.openai_port": True},
        )
        for bad in wrong:
            with pytest.raises(ConfigError):
                await client.change_settings(bad)
        for key, value in (
            ("runtime.engine_path.linux", "/bin/sh"),
            ("runtime.models_dir.windows", "C:\\"),
            ("runtime.rpc_workers", ["10.0.0.1:50052"]),
            ("proxy.host", "0.0.0.0"),
            ("proxy.origins", ["https://evil.test"]),
            ("proxy.log_prompts", True),
        ):
            with pytest.raises(RefusedError):
                await client.change_settings({key: value})
        assert home_at(service.home).app_config_file.read_bytes() == before


async def test_a_change_of_the_files_restarts_nothing_that_runs(service: ServiceProcess, tiny: Path) -> None:
    """F35, C1: what is loaded stays, in the same process and on the same port, whatever the files say."""
    home = home_at(service.home)
    async with control(service) as client:
        assert (await ask(service)).status_code == 200
        (before,) = (await client.instances()).instances

        async def same() -> bool:
            (now,) = (await client.instances()).instances
            return (now.id, now.pid, now.port, now.state) == (before.id, before.pid, before.port, "ready")

        await client.change_settings(
            {
                "runtime.memory_limit_bytes": 2**40,
                "runtime.idle_unload_s": 1000,
                "runtime.load_stall_s": 99,
                "service.control_port": 1,
                "proxy.openai_port": 2,
            }
        )
        assert await same()
        waiting = "Changed for the next start of the service: service.control_port."
        assert (await client.health()).notices == (waiting,)
        await client.change_settings({"service.control_port": 8035})
        assert (await client.health()).notices == ()
        write_models(service.home, tiny, {**OPTIONS, "context_length": 512})
        await client.reload()
        assert await same()
        home.models_config_file.write_text(json.dumps({"version": 1, "models": {}}))
        await client.reload()
        assert await same()
        for broken in (b"", b"{", b'{"models": 5, "version": 1}'):
            home.models_config_file.write_bytes(broken)
            home.app_config_file.write_bytes(broken)
            health = await client.reload()
            assert health.openai.url == service.ready["openai"]
            assert await same()
        assert home.app_config_file.read_bytes() == broken
        problems = (await client.settings()).problems
        assert {one.severity for one in problems} >= {"error"}
        assert await answers(service.ready["openai"])
        write_models(service.home, tiny, OPTIONS)
        async with asyncio.timeout(LIMIT_S):
            # The proxy looks at the models every two seconds at most.
            while (await ask(service)).status_code == 404:
                pass
        assert (await ask(service)).status_code == 200
        assert await same()


async def test_the_log_is_read_on_from_where_it_was_read(service: ServiceProcess) -> None:
    async with control(service) as client:
        first = await client.service_log()
        assert any("service ready" in line for line in first.lines)
        assert service.run_file.token not in "\n".join(first.lines)
        await client.change_settings({"stress.requests": 5})
        await client.keep(True)
        assert (await client.service_log(after=first.next)).next >= first.next
        assert (await client.service_log(after=0)).next >= first.next
