"""Clients that leave, at every stage of a request (H23), at random and often (H26), or never read (H24).

Relay, gate and listener are the service's own; the engine is the metronome, which tells who still listens.
"""

import asyncio
import json
import random
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from llama_runner.core.clock import SystemClock
from llama_runner.net.client import open_http
from llama_runner.net.gate import RequestGate, loopback_hosts
from llama_runner.net.listen import listen_tcp, port_of_socket
from llama_runner.proxy.admission import Admission
from llama_runner.proxy.calls import Relays
from llama_runner.proxy.host import OfferedModel, Upstream
from llama_runner.proxy.records import RequestLog
from llama_runner.service.connection import PATIENCE, Patience
from llama_runner.service.proxies import dialects
from llama_runner.service.server import HttpServer
from tests.fakes.metronome import Metronome
from tests.fakes.metronome_plan import Plan
from tests.fakes.waiting import until
from tests.integration.test_proxy_lives import BODY, client, service, tiny, until_idle

__all__ = ["service", "tiny"]

LONG = Plan(tokens=1000, gap_ms=20)
SILENT = Plan(prefill_ms=60_000)


@dataclass
class Host:
    """Whatever plan a request names is a model; all are loaded once `loaded` is set."""

    url: str
    loaded: asyncio.Event = field(default_factory=asyncio.Event)
    using: int = 0
    plans: list[Plan] = field(default_factory=list)

    async def offered(self) -> list[OfferedModel]:
        return [OfferedModel(plan.model_id(), "0" * 64, 1, 0.0) for plan in self.plans]

    @asynccontextmanager
    async def use(self, model_id: str) -> AsyncIterator[Upstream]:
        self.using += 1
        try:
            await self.loaded.wait()
            yield Upstream(self.url, None, model_id)
        finally:
            self.using -= 1

    def keep(self, model_id: str, idle_s: float | None) -> None:
        """They stay."""

    async def changed(self, limit_s: float) -> None:
        """They do not change."""

    async def unload(self, model_id: str) -> None:
        """They stay."""


@dataclass
class Door:
    """One listener of the proxy, and everything that counts what goes on behind it."""

    port: int
    server: HttpServer
    gate: RequestGate
    host: Host
    admission: Admission
    requests: RequestLog

    def request(self, plan: Plan, *, stream: bool = True) -> bytes:
        """A chat that the metronome answers by `plan`."""
        if plan not in self.host.plans:
            self.host.plans.append(plan)
        body = json.dumps(
            {"model": plan.model_id(), "messages": [{"role": "user", "content": "x"}], "stream": stream}
        ).encode()
        return (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        ) % (self.port, len(body), body)

    def at_rest(self) -> bool:
        """Whether nobody is there and nothing is counted."""
        running = [record for record in self.requests.records if record.outcome == "running"]
        return not (len(self.server.guests) or self.gate.requests or self.host.using or running) and not (
            self.admission.waiting or any(self.admission.in_flight(p.model_id()) for p in self.host.plans)
        )


@asynccontextmanager
async def door(
    url: str, *, in_flight: int = 10, patience: Patience = PATIENCE, ollama: bool = False
) -> AsyncIterator[Door]:
    clock = SystemClock()
    listener = listen_tcp("127.0.0.1", 0)
    port = port_of_socket(listener)
    host, admission, requests = Host(url), Admission(clock=clock, max_in_flight=in_flight), RequestLog()
    host.loaded.set()
    async with open_http() as http, asyncio.TaskGroup() as group:
        relays = Relays(host, http, clock, admission, requests)
        spoken = dialects(relays)[ollama]
        gate = RequestGate(
            spoken.app, allowed_hosts=lambda: loopback_hosts(port), token=None, spelling=spoken.spelling
        )
        server = HttpServer(gate, listener, patience=patience)
        group.create_task(server.run_until_stopped())
        try:
            yield Door(port, server, gate, host, admission, requests)
        finally:
            server.stop()
            relays.kept.close()


async def chunks(reader: asyncio.StreamReader, count: int) -> None:
    """Read so many events that hold a token."""
    for _ in range(count):
        await reader.readuntil(b'"content"')


Stage = Callable[[Door, asyncio.StreamReader, asyncio.StreamWriter], Any]


async def before_the_headers(door: Door, reader: Any, writer: asyncio.StreamWriter) -> None:
    writer.write(door.request(LONG)[:60])
    await until(lambda: len(door.server.guests))


async def while_loading(door: Door, reader: Any, writer: asyncio.StreamWriter) -> None:
    door.host.loaded.clear()
    writer.write(door.request(LONG))
    await until(lambda: door.host.using)


async def before_the_first_byte(door: Door, reader: Any, writer: asyncio.StreamWriter) -> None:
    writer.write(door.request(SILENT, stream=False))
    await until(lambda: door.host.using)


async def after_the_first_byte(
    door: Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    writer.write(door.request(Plan(tokens=8, stall_at=1)))
    await chunks(reader, 1)


async def between_chunks(door: Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(door.request(LONG))
    await chunks(reader, 3)


async def half_closed(door: Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """It still reads, but nothing tells that from a client that is gone."""
    writer.write(door.request(LONG))
    await chunks(reader, 1)
    writer.write_eof()


STAGES = (
    before_the_headers,
    while_loading,
    before_the_first_byte,
    after_the_first_byte,
    between_chunks,
    half_closed,
)


async def leave(door: Door, stage: Stage) -> float:
    """Leave at a stage; seconds until nothing is left of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port, limit=1 << 20)
    await stage(door, reader, writer)
    left_s = time.perf_counter()
    if stage is not half_closed:
        writer.close()
    await until(door.at_rest)
    gone_s = time.perf_counter() - left_s
    writer.close()
    door.host.loaded.set()
    return gone_s


@pytest.mark.parametrize("stage", STAGES, ids=lambda s: s.__name__)
async def test_h23_a_client_that_leaves_leaves_nothing_behind(metronome: Metronome, stage: Stage) -> None:
    async with door(metronome.url) as here, asyncio.timeout(30):
        await leave(here, stage)
        await until(lambda: not metronome.load()["in_flight"])


async def test_h23_a_client_that_leaves_the_queue_is_never_asked_for(metronome: Metronome) -> None:
    async with door(metronome.url, in_flight=1) as here, asyncio.timeout(30):
        _, writer = await asyncio.open_connection("127.0.0.1", here.port)
        silent = Plan(prefill_ms=60_000, id="queue")
        writer.write(here.request(silent))
        await until(lambda: here.host.using)
        _, other = await asyncio.open_connection("127.0.0.1", here.port)
        other.write(here.request(silent))
        await until(lambda: here.admission.waiting)
        other.close()
        await until(lambda: not here.admission.waiting)
        writer.close()
        await until(here.at_rest)
        assert len(metronome.log("queue")) == 1


@pytest.mark.timing
@pytest.mark.parametrize("stage", STAGES, ids=lambda s: s.__name__)
async def test_h23_leaving_is_noticed_within_half_a_second(metronome: Metronome, stage: Stage) -> None:
    async with door(metronome.url) as here, asyncio.timeout(30):
        assert statistics.median([await leave(here, stage) for _ in range(5)]) < 0.5


async def test_h24_a_client_that_never_reads_is_dropped_and_its_engine_freed(metronome: Metronome) -> None:
    # 20 MB: more than the buffers of two connections hold.
    endless = Plan(tokens=200_000, tokens_per_chunk=200, gap_ms=0.1, word="x" * 100)
    patience = Patience(stuck_s=0.5)
    async with door(metronome.url, patience=patience) as here, asyncio.timeout(40):
        _, writer = await asyncio.open_connection("127.0.0.1", here.port, limit=1)
        writer.write(here.request(endless))
        await until(lambda: here.host.using)
        await until(here.at_rest, limit_s=30)
        (record,) = here.requests.records
        # Back-pressure: what nobody took was not even read from the engine.
        assert record.outcome == "client left"
        assert record.bytes_sent < 15_000_000
        writer.close()


async def one_of_many(door: Door, dice: random.Random, limit: asyncio.Semaphore) -> None:
    """Ask for something short and leave at a random moment, or stay to the end."""
    plan = Plan(prefill_ms=dice.choice([0, 5, 20]), tokens=dice.randint(1, 6), gap_ms=dice.choice([0, 3]))
    patience_s = dice.choice([0.0, 0.001, 0.005, 0.01, 0.02, 0.05, 1.0])
    async with limit:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        request = door.request(plan, stream=dice.random() < 0.7)
        writer.write(request[: dice.choice([10, len(request), len(request), len(request)])])
        try:
            async with asyncio.timeout(patience_s):
                await reader.readuntil(b"[DONE]" if b'"stream": true' in request else b'"usage"')
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            if dice.random() < 0.3:
                writer.transport.abort()
        writer.close()


async def test_h26_a_thousand_requests_cancelled_at_random_leave_every_counter_at_zero(
    metronome: Metronome,
) -> None:
    dice = random.Random(26)
    async with door(metronome.url, in_flight=4) as here, asyncio.timeout(50):
        tasks = len(asyncio.all_tasks())
        limit = asyncio.Semaphore(32)
        async with asyncio.TaskGroup() as group:
            for _ in range(1000):
                group.create_task(one_of_many(here, dice, limit))
        await until(here.at_rest, limit_s=20)
        outcomes = {record.outcome for record in here.requests.records}
        assert {"done", "client left"} <= outcomes <= {"done", "client left", "failed"}
        await until(lambda: len(asyncio.all_tasks()) <= tasks)
        await until(lambda: not metronome.load()["in_flight"])


async def test_h26_a_real_engine_is_left_alone_by_clients_that_leave(service: Any) -> None:
    """Random weights and a real llama-server: none of its slots stays taken."""
    dice = random.Random(27)
    async with client(service) as http:
        assert (await http.post("/v1/completions", json=BODY | {"max_tokens": 1})).status_code == 200

        async def ask(limit: asyncio.Semaphore) -> None:
            async with limit:
                try:
                    async with asyncio.timeout(dice.choice([0.005, 0.02, 0.05, 0.1, 5])):
                        asked = BODY | {"max_tokens": dice.randint(1, 200), "stream": dice.random() < 0.5}
                        await http.post("/v1/completions", json=asked)
                except TimeoutError:
                    return

        limit = asyncio.Semaphore(12)
        async with asyncio.TaskGroup() as group:
            for _ in range(200):
                group.create_task(ask(limit))
        await until_idle(service, 20)
        records = await http.get(
            f"{service.url}/api/v1/requests", headers={"Authorization": f"Bearer {service.run_file.token}"}
        )
        outcomes = [record["outcome"] for record in records.json()["requests"]]
        assert outcomes.count("running") == 0 and outcomes.count("client left") > 0
        assert (await http.post("/v1/completions", json=BODY | {"max_tokens": 1})).status_code == 200
