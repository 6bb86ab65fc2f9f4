"""Finding servers: simulated engines and bad neighbours on loopback addresses, and the metronome."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from llama_runner.backends.base import Engine
from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import NotFoundError, UsageError
from llama_runner.core.paths import create_folders, home_at
from llama_runner.core.settings import DiscoverySettings
from llama_runner.discovery.manager import DiscoveryManager
from llama_runner.discovery.networks import plan_scan
from llama_runner.discovery.registry import (
    Certainty,
    ServerRecord,
    ServerRegistry,
    ServerSource,
    ServerStatus,
)
from llama_runner.discovery.saved import SavedServers
from llama_runner.discovery.scan import ScanReport
from llama_runner.net.broadcast import broadcast
from llama_runner.net.client import open_http
from llama_runner.net.ports import pick_free_port
from tests.fakes import model_servers
from tests.fakes.metronome import Metronome
from tests.fakes.model_servers import Reply, Simulated, simulated, simulated_network

# Small, so that silent servers do not hold up the tests; a loopback answer takes a millisecond.
SETTINGS = DiscoverySettings(connect_timeout_s=0.5, probe_timeout_s=0.5)


# Takes a packet, the addresses it goes to, and the port.
SendWake = Callable[[bytes, Iterable[str], int], Awaitable[None]]


@dataclass
class Finder:
    """A manager with its registry."""

    manager: DiscoveryManager
    registry: ServerRegistry = field(default_factory=ServerRegistry)


@asynccontextmanager
async def finder(
    home: Path, settings: DiscoverySettings = SETTINGS, *, send_wake: SendWake = broadcast
) -> AsyncIterator[Finder]:
    create_folders(home_at(home))
    registry, clock = ServerRegistry(), SystemClock()
    async with open_http() as http:
        manager = DiscoveryManager(
            registry=registry,
            http=http,
            clock=clock,
            settings=lambda: settings,
            saved=SavedServers(home_at(home), clock),
            send_wake=send_wake,
        )
        try:
            yield Finder(manager, registry)
        finally:
            await manager.close()


async def scan(find: Finder, *servers: Simulated) -> ScanReport:
    """Scan exactly these servers' addresses, among closed ports of the same hosts."""
    hosts = tuple(dict.fromkeys(server.host for server in servers))
    ports = tuple(dict.fromkeys(server.port for server in servers))
    return await find.manager.scan(plan_scan(SETTINGS, hosts=hosts, ports=ports))


def reason(report: ScanReport, server: Simulated) -> str:
    """Why a server was not listed."""
    return next(rejected.reason for rejected in report.rejected if rejected.url == server.url)


async def test_a_scan_finds_each_engine_with_its_models_and_only_there(home: Path) -> None:
    routes = {
        "127.0.0.2": model_servers.llama_server("tiny"),
        "127.0.0.3": model_servers.ollama("llama3:latest", "qwen:7b"),
        "127.0.0.4": model_servers.vllm("big"),
        "127.0.0.5": model_servers.koboldcpp("kobold"),
        "127.0.0.6": model_servers.lm_studio("a", "b"),
        "127.0.0.7": model_servers.generic("some"),
    }
    async with finder(home) as find, simulated_network(routes) as servers:
        report = await scan(find, *servers.values())

    found = {record.base_url: record for record in report.found}
    products = [found[servers[host].url].product for host in routes]
    assert products == ["llama-server", "ollama", "vllm", "koboldcpp", "lm-studio", "openai-compatible"]
    ollama = found[servers["127.0.0.3"].url]
    assert [model.id for model in ollama.models] == ["llama3:latest", "qwen:7b"]
    assert ollama.version == "0.34.1"
    llama = found[servers["127.0.0.2"].url]
    assert llama.models[0].context_length == 4096
    assert llama.latency_s is not None
    assert 0 < llama.latency_s < 1
    assert all(record.status is ServerStatus.ONLINE for record in report.found)
    assert report.probed == 36
    assert find.registry.records == tuple(sorted(report.found, key=find.registry.records.index))


async def test_closed_ports_get_no_request_and_open_ones_only_reads_without_a_key(home: Path) -> None:
    async with finder(home) as find, simulated(model_servers.generic("m")) as server:
        await find.manager.add(server.url, "the-secret-key")
        server.requests.clear()
        await scan(find, server)

    assert {method for method, _, _ in server.requests} == {"GET"}
    probes = [headers for _, path, headers in server.requests if path != "/v1/models"]
    assert probes
    assert not [headers for headers in probes if "authorization" in headers]


async def test_d9_a_401_gets_no_credential_whatever_its_realm_says(home: Path) -> None:
    realm = {"WWW-Authenticate": 'Bearer realm="http://127.0.0.9:1/steal"'}
    async with (
        finder(home) as find,
        simulated({}, host="127.0.0.3") as other,
        simulated({}, otherwise=Reply(b"{}", 401, realm)) as server,
    ):
        await find.manager.add(other.url, "key-of-the-other")
        report = await scan(find, server)

        (record,) = report.found
        assert record.status is ServerStatus.NEEDS_KEY
        assert not [headers for _, _, headers in server.requests if "authorization" in headers]


async def test_servers_added_by_hand_survive_a_restart_without_their_key(home: Path) -> None:
    async with simulated(model_servers.llama_server("tiny")) as server:
        async with finder(home) as find:
            record = await find.manager.add(f"{server.url}/v1", "secret")
            assert record.source is ServerSource.MANUAL
            assert record.status is ServerStatus.ONLINE

        async with finder(home) as find:
            (kept,) = find.registry.records
            assert (kept.base_url, kept.engine) == (server.url, Engine.LLAMA_SERVER)
            assert kept.status is ServerStatus.NOT_CHECKED
            assert not find.registry.has_key(kept.id)
            assert (await find.manager.check(kept.id)).status is ServerStatus.ONLINE
            await find.manager.remove(kept.id)

        async with finder(home) as find:
            assert find.registry.records == ()
    assert "secret" not in "".join(path.read_text() for path in home.rglob("*.json"))


async def test_a_server_that_is_offline_is_added_all_the_same_and_comes_back(home: Path) -> None:
    port = pick_free_port()
    async with finder(home) as find:
        record = await find.manager.add(f"http://127.0.0.1:{port}")
        assert record.status is ServerStatus.OFFLINE
        assert "Nothing listens" in record.problem

        async with simulated(model_servers.generic("m"), host="127.0.0.1", port=port):
            assert (await find.manager.check(record.id)).status is ServerStatus.ONLINE
            await find.manager.check_all()

        await find.manager.check_all()
        gone = find.registry.known(record.id)
        assert gone.status is ServerStatus.OFFLINE
        assert gone.models, "what it offered is still shown"


async def test_a_scan_marks_a_server_offline_that_it_found_before(home: Path) -> None:
    async with finder(home) as find:
        async with simulated(model_servers.generic("m")) as server:
            await scan(find, server)
        await scan(find, server)

        (record,) = find.registry.records
        assert record.status is ServerStatus.OFFLINE


async def test_a_key_opens_a_server_and_a_wrong_one_says_so(home: Path) -> None:
    from tests.fakes.metronome import start_metronome

    guarded = start_metronome(api_key="right", engine="llama-server")
    try:
        async with finder(home) as find:
            assert (await find.manager.add(guarded.url)).status is ServerStatus.NEEDS_KEY
            assert (await find.manager.add(guarded.url, "wrong")).status is ServerStatus.NEEDS_KEY
            right = await find.manager.add(guarded.url, "right")
            assert right.status is ServerStatus.ONLINE
            assert [model.id for model in right.models] == ["metronome"]
    finally:
        guarded.close()


async def test_r11_a_key_is_not_sent_unencrypted_to_another_machine_unasked(home: Path) -> None:
    async with finder(home) as find:
        with pytest.raises(UsageError, match="unencrypted"):
            await find.manager.add("http://192.0.2.1:8080", "secret")


async def test_d13_a_key_is_withheld_when_another_program_answers(home: Path) -> None:
    async with finder(home) as find, simulated(model_servers.vllm("m")) as server:
        await find.manager.add(server.url, "secret")
        server.routes.clear()
        server.routes.update(model_servers.koboldcpp("k"))
        server.requests.clear()

        record = await find.manager.check(server.url)

        assert record.status is ServerStatus.ERROR
        assert "was vllm and now answers as koboldcpp" in record.problem
        assert not [headers for _, _, headers in server.requests if "authorization" in headers]


async def test_without_a_key_a_changed_server_is_simply_the_new_one(home: Path) -> None:
    async with finder(home) as find, simulated(model_servers.vllm("m")) as server:
        await scan(find, server)
        server.routes.clear()
        server.routes.update(model_servers.ollama("o"))

        assert (await find.manager.check(server.url)).product == "ollama"


async def test_a_server_that_is_loading_its_model_is_listed_with_a_note(home: Path) -> None:
    header = {"Server": "llama.cpp", "Content-Type": "application/json"}
    loading = Reply(b'{"error":{"code":503,"message":"Loading model"}}', 503, header)
    async with finder(home) as find, simulated({}, otherwise=loading) as server:
        report = await scan(find, server)

    (record,) = report.found
    assert record.status is ServerStatus.ONLINE
    assert "loading" in record.problem.lower()


async def test_a_server_that_is_known_and_lists_nothing_in_time_says_so(home: Path) -> None:
    routes = model_servers.ollama("o")
    routes["/api/ps"] = Reply(hang=True)
    async with finder(home) as find, simulated(routes) as server:
        record = await find.manager.add(server.url)

    assert record.product == "ollama"
    assert record.status is ServerStatus.ERROR
    assert "in time" in record.problem


async def test_an_instance_of_ours_that_does_not_answer_is_an_error_until_the_service_removes_it(
    home: Path,
) -> None:
    async with finder(home) as find:
        url = f"http://127.0.0.1:{pick_free_port()}"
        find.registry.upsert(
            ServerRecord(
                id="service:i1",
                base_url=url,
                engine=Engine.LLAMA_SERVER,
                product="llama-server",
                certainty=Certainty.CERTAIN,
                status=ServerStatus.ONLINE,
                source=ServerSource.SERVICE,
            )
        )
        assert (await find.manager.check("service:i1")).status is ServerStatus.ERROR
        with pytest.raises(UsageError, match="Unload"):
            await find.manager.remove("service:i1")


async def test_stopping_a_scan_keeps_what_was_found_and_is_quick(home: Path) -> None:
    async with (
        finder(home) as find,
        simulated(model_servers.generic("m"), host="127.0.0.3") as good,
        simulated({}, host="127.0.0.2", otherwise=Reply(hang=True)) as silent,
    ):
        changes = find.registry.changes.subscribe()
        async with asyncio.TaskGroup() as group:
            scanning = group.create_task(scan(find, silent, good))
            async for _ in changes:
                break
            started = asyncio.get_running_loop().time()
            await find.manager.stop()
            assert asyncio.get_running_loop().time() - started < 0.5
        report = scanning.result()

        assert report.stopped
        assert [record.base_url for record in report.found] == [good.url]
        assert not find.manager.scanning


async def test_a_second_scan_at_the_same_time_is_refused(home: Path) -> None:
    async with finder(home) as find, simulated({}, otherwise=Reply(hang=True)) as silent:
        progress = find.manager.progress.subscribe()
        async with asyncio.TaskGroup() as group:
            group.create_task(scan(find, silent))
            async for _ in progress:
                break
            with pytest.raises(UsageError, match="running"):
                await scan(find, silent)
            await find.manager.stop()


async def test_progress_ends_with_done(home: Path) -> None:
    async with finder(home) as find, simulated(model_servers.generic("m")) as server:
        progress = find.manager.progress.subscribe()
        await scan(find, server)
        phases = [step.phase for step in progress.drain()]

    assert phases[0] == "connect"
    assert "probe" in phases
    assert phases[-1] == "done"


async def test_remembered_servers_are_asked_at_the_start_and_watched_until_closed(home: Path) -> None:
    async with simulated(model_servers.generic("m")) as server:
        async with finder(home) as find:
            await find.manager.add(server.url)
        server.routes.clear()
        async with finder(home) as find:
            assert find.registry.known(server.url).status is ServerStatus.NOT_CHECKED
            checks = find.registry.changes.subscribe()
            find.manager.start_refreshing()
            find.manager.start_refreshing()
            async for _ in checks:
                break

            assert find.registry.known(server.url).status is ServerStatus.ERROR


async def test_what_is_not_known_can_be_neither_checked_nor_removed(home: Path) -> None:
    async with finder(home) as find:
        with pytest.raises(NotFoundError):
            await find.manager.check("http://127.0.0.1:1")
        with pytest.raises(NotFoundError):
            await find.manager.remove("http://127.0.0.1:1")


async def test_the_metronome_is_found_as_what_it_plays(home: Path, metronome: Metronome) -> None:
    async with finder(home) as find:
        record = await find.manager.add(metronome.url)

    assert record.status is ServerStatus.ONLINE
    assert [model.id for model in record.models] == ["metronome"]
