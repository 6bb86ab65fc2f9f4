"""Scans of whole networks: a simulated one on loopback addresses, and silence in a network of its own."""

import asyncio
import ipaddress
import itertools
import json
import logging
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from llama_runner.core.settings import DiscoverySettings
from llama_runner.discovery.networks import plan_scan
from llama_runner.discovery.registry import ServerStatus
from tests.fakes import model_servers
from tests.fakes.hostile_servers import HOSTILE
from tests.fakes.model_servers import LM_STUDIO_OTHERWISE, NOT_FOUND, Reply, Simulated, simulated
from tests.integration.test_discovery import finder

NETWORK = "127.0.77.0/24"
ENGINES: Mapping[str, dict[str, Reply]] = {
    "llama-server": model_servers.llama_server("tiny"),
    "ollama": model_servers.ollama("llama3:latest"),
    "lm-studio": model_servers.lm_studio("a"),
    "vllm": model_servers.vllm("m"),
    "sglang": model_servers.sglang("m"),
    "tgi": model_servers.tgi("m"),
    "localai": model_servers.local_ai("m"),
    "koboldcpp": model_servers.koboldcpp("m"),
    "litellm": model_servers.lite_llm("m"),
    "llama-swap": model_servers.llama_swap("m"),
    "lemonade": model_servers.lemonade("m"),
    "tabbyapi": model_servers.tabby_api("m"),
    "aphrodite": model_servers.aphrodite("m"),
    "text-generation-webui": model_servers.text_generation_webui("m"),
    "jan": model_servers.jan("m"),
    "gpt4all": model_servers.gpt4all("Big Model"),
    "mlx-lm": model_servers.mlx_lm("m"),
    "docker-model-runner": model_servers.docker_model_runner("m"),
    "anthropic": model_servers.anthropic_without_key("m"),
    "openai-compatible": model_servers.generic("m"),
}


@asynccontextmanager
async def common_ports(count: int) -> AsyncIterator[tuple[int, ...]]:
    """Ports that no address of this machine uses, kept until all of them are chosen."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("", 0))
        ports = tuple(one.getsockname()[1] for one in sockets)
    yield ports


@asynccontextmanager
async def simulated_lan(ports: tuple[int, ...]) -> AsyncIterator[dict[str, Simulated]]:
    """Every engine and every nuisance on an address of its own, on one port after the other; by name."""
    hosts = [str(host) for host in ipaddress.ip_network(NETWORK).hosts()]
    places = zip(hosts[3::5], itertools.cycle(ports), strict=False)
    async with AsyncExitStack() as stack:
        running: dict[str, Simulated] = {}
        for name, routes in ENGINES.items():
            host, port = next(places)
            otherwise = LM_STUDIO_OTHERWISE if name == "lm-studio" else NOT_FOUND
            served = simulated(routes, host=host, port=port, otherwise=otherwise)
            running[name] = await stack.enter_async_context(served)
        for name, reply in HOSTILE.items():
            host, port = next(places)
            served = simulated({}, host=host, port=port, otherwise=reply)
            running[name] = await stack.enter_async_context(served)
        yield running


@pytest.mark.timing
async def test_a_lan_of_254_addresses_with_every_engine_and_20_nuisances_is_told_apart_in_6_s(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "llama_runner")
    async with (
        common_ports(8) as ports,
        simulated_lan(ports) as running,
        finder(home, DiscoverySettings()) as find,
    ):
        plan = plan_scan(DiscoverySettings(), networks=[NETWORK], ports=ports, browse=False)
        report = await find.manager.scan(plan)
        asked = {method for server in running.values() for method, _, _ in server.requests}
        sent = [headers for server in running.values() for _, _, headers in server.requests]

    assert report.probed == 254 * 8
    assert {record.base_url: record.product for record in report.found} == {
        running[name].url: name for name in ENGINES
    }
    assert {rejected.url for rejected in report.rejected} == {running[name].url for name in HOSTILE}
    assert all(rejected.reason for rejected in report.rejected)
    assert asked == {"GET"}
    assert not [headers for headers in sent if {"authorization", "x-api-key", "cookie"} & set(headers)]
    assert all(headers["user-agent"].startswith("llama-runner/") for headers in sent)
    assert f"scan started networks={NETWORK} hosts=254" in caplog.text
    assert len(HOSTILE) >= 20
    assert report.elapsed_s < 6
    needing_keys = {record.product for record in report.found if record.status is ServerStatus.NEEDS_KEY}
    assert needing_keys == {"tabbyapi", "jan"}


@pytest.mark.timing
async def test_this_machine_alone_takes_less_than_a_second(home: Path) -> None:
    async with (
        common_ports(8) as ports,
        simulated(model_servers.ollama("m"), host="127.0.0.1", port=ports[3]) as server,
        finder(home) as find,
    ):
        report = await find.manager.scan(plan_scan(DiscoverySettings(), ports=ports))

    assert [record.base_url for record in report.found] == [server.url]
    assert report.elapsed_s < 1


# --- in a network of its own -------------------------------------------------------------------------------


async def in_a_namespace(scenario: str, folder: Path) -> dict[str, Any]:
    """Run a scenario of `namespace_scan` where its network is all there is."""
    if sys.platform != "linux" or not shutil.which("unshare") or not shutil.which("ip"):
        pytest.skip("network namespaces need Linux with unshare and ip")
    alone = ("unshare", "--map-root-user", "--net")
    if await _run(*alone, "ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan1") is None:
        pytest.skip("this system allows no network namespaces with virtual interfaces")
    program = (sys.executable, "-m", "tests.integration.namespace_scan")
    said = await _run(*alone, *program, scenario, str(folder))
    assert said is not None
    result: dict[str, Any] = json.loads(said)
    return result


async def _run(*command: str) -> bytes | None:
    """What a command says, None when it fails."""
    process = await asyncio.create_subprocess_exec(*command, stdout=-1, stdin=-3)
    said, _ = await process.communicate()
    return said if process.returncode == 0 else None


@pytest.mark.timing
async def test_silence_at_254_addresses_and_8_ports_takes_less_than_6_s_and_stops_in_half_a_second(
    tmp_path: Path,
) -> None:
    done = await in_a_namespace("silence", tmp_path)

    assert done["stopped"]["stopped"]
    assert done["stopped"]["stop_s"] < 0.5
    assert done["stopped"]["probed"] < 2000
    assert done["probed"] == 254 * 8
    assert done["elapsed_s"] < 6
    assert done["most_at_once"] <= 256
    assert done["most_in_a_second"] <= 600
    assert done["own"] == ["10.77.0.0/24"]


async def test_d18_an_interface_that_goes_down_ends_the_scan_with_what_was_found(tmp_path: Path) -> None:
    done = await in_a_namespace("interface_down", tmp_path)

    assert done["found"] == [done["server"]]
    assert not done["stopped"]
    assert done["probed"] == 254 * 4
    (problem,) = done["problems"]
    assert "could not be asked" in problem


async def test_what_a_neighbour_offers_by_mdns_is_looked_at_inside_the_network_only(tmp_path: Path) -> None:
    """It has a port that is not looked at; others lead to a machine never to be scanned, and out."""
    done = await in_a_namespace("mdns", tmp_path)

    assert done["found"] == [done["server"]]
    # Two more than the network's hosts without the avoided one: the server, and the box with a closed port.
    assert done["probed"] == 253 + 2
    assert done["problems"] == []
