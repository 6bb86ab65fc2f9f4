"""The control API behind its gate, on a real port, with a runtime that does what a test wants."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from llama_runner.control.client import ControlClient
from llama_runner.control.serving import EngineList
from llama_runner.control.values import EngineInfo
from llama_runner.core import errors
from llama_runner.core.clock import SystemClock
from llama_runner.core.load_options import LoadOptions
from llama_runner.core.paths import home_at
from llama_runner.core.settings import AppConfig
from llama_runner.core.tasks import TaskOwner
from llama_runner.net.client import open_http
from llama_runner.net.gate import MAX_BODY_BYTES, RequestGate
from llama_runner.net.listen import listen_tcp, port_of_socket
from llama_runner.runtime.activity import Activity
from llama_runner.runtime.catalogue import ModelCatalogue, ModelFile
from llama_runner.runtime.memory import MIB, LoadPlan, MemoryNeed, RoomPlan
from llama_runner.runtime.profiles import ModelProfiles
from llama_runner.runtime.states import InstanceSnapshot, InstanceState
from llama_runner.service.api import ControlApi
from llama_runner.service.browser import Browsers
from llama_runner.service.listener import allowed_hosts
from llama_runner.service.server import HttpServer
from llama_runner.service.state import ServiceState

TOKEN = "the token"
READY = InstanceSnapshot("i1", "m", InstanceState.READY, pid=7, started_utc=datetime(2026, 1, 2, tzinfo=UTC))


@dataclass
class FakeRuntime:
    """Keeps what it was asked; `fail` is raised by every call."""

    fail: Callable[[], Exception] | None = None
    loads: list[tuple[str, LoadOptions]] = field(default_factory=list)
    saved: dict[str, LoadOptions] = field(default_factory=dict)
    revision: int = 3
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def _maybe_fail(self) -> None:
        if self.fail is not None:
            raise self.fail()

    async def models(self) -> ModelCatalogue:
        self._maybe_fail()
        broken = ModelFile("b", Path("/b.gguf"), None, None, "It is empty.", "models folder")
        return ModelCatalogue((broken,), ("One folder cannot be read.",))

    async def load(
        self, model_id: str, options: LoadOptions, *, profile: str | None, reload: bool
    ) -> InstanceSnapshot:
        self._maybe_fail()
        self.loads.append((model_id, options))
        return replace(READY, profile=profile)

    def instance(self, instance_id: str) -> InstanceSnapshot:
        self._maybe_fail()
        return READY

    async def activity(self, instance_id: str) -> Activity:
        self._maybe_fail()
        return Activity(slots=2, output_tokens=30, output_s=1.5)

    async def profiles(self, model_id: str) -> ModelProfiles:
        self._maybe_fail()
        return ModelProfiles(model_id, None, self.saved, LoadOptions(threads=1))

    async def save_profile(self, model_id: str, name: str, options: LoadOptions) -> ModelProfiles:
        self.saved[name] = options
        return await self.profiles(model_id)

    async def remove_profile(self, model_id: str, name: str) -> ModelProfiles:
        self.saved.pop(name, None)
        return await self.profiles(model_id)

    async def set_default_profile(self, model_id: str, name: str | None) -> ModelProfiles:
        return replace(await self.profiles(model_id), default=name)

    async def unload(self, instance_id: str) -> None:
        self._maybe_fail()

    async def plan(self, model_id: str, options: LoadOptions, *, profile: str | None) -> LoadPlan:
        self._maybe_fail()
        room = RoomPlan(MIB, 2 * MIB, (), (), True)
        return LoadPlan(model_id, MemoryNeed(MIB, 0, 0), room, load_s=1.5, loaded=False)

    def pin(self, instance_id: str, pinned: bool) -> InstanceSnapshot:
        self._maybe_fail()
        return replace(READY, pinned=pinned)

    def instances(self) -> tuple[InstanceSnapshot, ...]:
        self._maybe_fail()
        return (READY,)

    async def wait_change(self, after: int, timeout_s: float) -> int:
        if after >= self.revision:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self.changed.wait()
                self.revision += 1
        return self.revision

    def access(self, instance_id: str) -> tuple[str, str]:
        self._maybe_fail()
        return "http://127.0.0.1:9", "key"

    def log_lines(self, instance_id: str, after: int) -> tuple[list[str], int]:
        self._maybe_fail()
        return [f"line {after}"], after + 1


async def _follow(again: bool) -> None:
    """No proxy here."""


async def _engine() -> EngineInfo:
    return EngineInfo(path="/llama-server", origin="configured")


async def _engines() -> EngineList:
    return EngineList((await _engine(), EngineInfo(name="ik", problem="It is gone.", hint="Add it again.")))


@dataclass
class Served:
    """A running API and both ways to it."""

    url: str
    http: httpx.AsyncClient
    client: ControlClient
    state: ServiceState
    runtime: FakeRuntime

    async def raw(self, method: str, path: str, content: bytes = b"", **headers: str) -> httpx.Response:
        """A request with the token and whatever else."""
        return await self.http.request(
            method,
            f"{self.url}/api/v1/{path}",
            content=content,
            headers={"Authorization": f"Bearer {TOKEN}", **headers},
        )


@asynccontextmanager
async def served(home: Path) -> AsyncIterator[Served]:
    state = ServiceState(owned=True, keep=False, demo=False, clock=SystemClock())
    runtime, tasks = FakeRuntime(), TaskOwner()
    listener = listen_tcp("127.0.0.1", 0)
    port = port_of_socket(listener)
    url = f"http://127.0.0.1:{port}"
    api = ControlApi(
        manager=runtime,
        state=state,
        home=home_at(home),
        config=AppConfig,
        engine=_engine,
        engines=_engines,
        library=runtime,
        tasks=tasks,
        follow=_follow,
        browsers=Browsers(url=url, port=port, clock=SystemClock()),
    ).app()
    hosts = allowed_hosts("127.0.0.1", port)
    gate = RequestGate(api, allowed_hosts=lambda: hosts, token=TOKEN, max_failures=None)
    server = HttpServer(gate, listener)
    async with asyncio.TaskGroup() as group, open_http() as http:
        group.create_task(server.run_until_stopped())
        try:
            yield Served(url, http, ControlClient(url=url, token=TOKEN, http=http), state, runtime)
        finally:
            state.stop_requested.set()
            server.stop()
    await tasks.close()


async def test_every_call_arrives_as_it_was_meant(home: Path) -> None:
    async with served(home) as s:
        (instance,) = (await s.client.instances()).instances
        assert (instance.id, instance.model, instance.state, instance.pid) == ("i1", "m", "ready", 7)
        assert instance.started_utc == "2026-01-02T00:00:00+00:00"
        assert (await s.client.load("m", LoadOptions(threads=2))).id == "i1"
        assert s.runtime.loads == [("m", LoadOptions(threads=2))]
        found = await s.client.models()
        assert (found.models[0].problem, found.problems) == ("It is empty.", ("One folder cannot be read.",))
        assert (await s.client.access("i1")).api_key == "key"
        assert (await s.client.log("i1", after=4)).lines == ("line 4",)
        assert (await s.client.engine()).path == "/llama-server"
        assert (await s.client.settings()).settings["stress"]["concurrency"] == 4
        plan = await s.client.plan("m")
        assert (plan.model, plan.fits, plan.load_s, plan.measured) == ("m", True, 1.5, False)
        assert (await s.client.pin("i1", True)).pinned
        s.state.requests.begin("/v1/x", "m", datetime(2026, 1, 2, tzinfo=UTC), streamed=False)
        (request,) = (await s.client.requests()).requests
        assert (request.path, request.outcome, request.own_s) == ("/v1/x", "running", None)
        await s.client.unload("i1")
        await s.client.keep(True)
        assert s.state.keep


async def test_a_waiting_request_is_answered_by_the_change_not_before(home: Path) -> None:
    async with served(home) as s, asyncio.TaskGroup() as group:
        assert (await s.client.instances(after=2, wait_s=30)).revision == 3
        waiting = group.create_task(s.client.instances(after=3, wait_s=30))
        await s.client.health()
        assert not waiting.done()
        s.runtime.changed.set()
        assert (await waiting).revision == 4


async def test_a_closing_service_takes_no_new_work_and_lets_nobody_wait(home: Path) -> None:
    async with served(home) as s, asyncio.TaskGroup() as group:
        waiting = group.create_task(s.client.instances(after=3, wait_s=30))
        await s.client.health()
        await s.client.shutdown()
        async with asyncio.timeout(5):
            await waiting
        assert (await s.client.health()).status == "closing"
        with pytest.raises(errors.ServiceError, match="ending"):
            await s.client.load("m")
        assert s.runtime.loads == []
        await s.client.shutdown()
        assert s.state.hurried.is_set()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.UsageError("a", "b"), 400),
        (errors.NotFoundError("a", "b"), 404),
        (errors.EngineError("a", "b"), 422),
        (errors.ModelFileError("a", "b"), 422),
        (errors.ConfigError("a", "b"), 422),
        (errors.OverloadedError("a", "b"), 503),
        (errors.PortInUseError("a", "b"), 409),
        (errors.StorageError("a", "b"), 500),
    ],
)
async def test_an_expected_error_keeps_its_kind_and_its_sentences(
    home: Path, error: errors.LlamaRunnerError, status: int
) -> None:
    async with served(home) as s:
        s.runtime.fail = lambda: error
        assert (await s.raw("GET", "models")).status_code == status
        with pytest.raises(type(error)) as caught:
            await s.client.models()
        assert (caught.value.message, caught.value.hint) == ("a", "b")


async def test_an_unexpected_error_tells_the_client_a_number_and_the_log_the_rest(
    home: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """H20, I25: for every call."""
    async with served(home) as s:
        s.runtime.fail = lambda: RuntimeError("secret detail at 0x7f00")
        with caplog.at_level(logging.ERROR):
            for method, path in (
                ("GET", "models"),
                ("GET", "instances"),
                ("DELETE", "instances/i1"),
                ("GET", "instances/i1/access"),
                ("GET", "instances/i1/log"),
            ):
                answer = await s.raw(method, path)
                error = answer.json()["error"]
                assert (answer.status_code, error["kind"]) == (500, "internal")
                assert "secret" not in answer.text
                number = error["message"].split("number ")[1].rstrip(").")
                assert number in caplog.text
        assert "secret detail" in caplog.text


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{}", {}, 400),
        (b"[]", {}, 400),
        (b"\xff", {}, 400),
        (b'{"model": "m", "path": "/etc"}', {}, 400),
        (b'{"model": "m"}', {"Content-Type": "text/plain"}, 202),
        (b'{"model": "m"}', {"Content-Type": "text/plain", "Sec-Fetch-Site": "same-origin"}, 415),
        (b'{"model": "m"}', {"Content-Type": "text/plain", "Origin": "http://evil.test"}, 403),
        (b"{", {"Content-Length": str(MAX_BODY_BYTES + 1)}, 413),
    ],
)
async def test_bodies_are_bounded_checked_and_never_a_form_of_a_page(
    home: Path, content: bytes, headers: dict[str, str], status: int
) -> None:
    """R1, R2, H9, H14, H15."""
    async with served(home) as s:
        answer = await s.raw("POST", "instances", content, **headers)
        assert answer.status_code == status
        assert len(s.runtime.loads) == (status == 202)


async def test_a_body_without_a_length_is_bounded_too(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """H14: and it is nothing to log a traceback for."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 65_536

    async with served(home) as s:
        answer = await s.http.post(
            f"{s.url}/api/v1/instances", content=endless(), headers={"Authorization": f"Bearer {TOKEN}"}
        )
        assert answer.status_code == 413
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_client_that_goes_in_the_middle_of_its_request_is_no_error(
    home: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """H23."""
    async with served(home) as s:
        port = httpx.URL(s.url).port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = (
            f"POST /api/v1/instances HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {TOKEN}\r\n"
        )
        with caplog.at_level(logging.WARNING):
            writer.write(f"{head}Content-Length: 100\r\n\r\n{{".encode())
            await writer.drain()
            await s.client.health()
            writer.close()
            await writer.wait_closed()
            assert await reader.read() == b""
            await s.client.health()
        assert caplog.records == []


async def test_profiles_are_kept_read_and_forgotten(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        wish = LoadOptions(context_length=512, loras=("a.gguf:0.5",), tensor_split=(3.0, 1.0))
        saved = await api.client.save_profile("m", "long texts", wish)
        assert saved.profiles == {"long texts": wish}
        assert saved.parameters == LoadOptions(threads=1)
        assert (await api.client.profiles("m")) == saved
        assert (await api.client.profile("m", "long texts")).options == wish
        with pytest.raises(errors.NotFoundError, match="no profile short"):
            await api.client.profile("m", "short")
        assert (await api.client.set_default_profile("m", "long texts")).default == "long texts"
        assert (await api.client.remove_profile("m", "long texts")).profiles == {}
        loaded = await api.client.load("m", profile="long texts", reload=True)
        assert loaded.profile == "long texts"


async def test_engines_and_activity_are_told(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        assert [one.name for one in (await api.client.engines()).engines] == ["default", "ik"]
        activity = await api.client.activity("i1")
        assert (activity.id, activity.model, activity.slots, activity.decode_tps) == ("i1", "m", 2, 20.0)
        assert activity.prompt_tps is None
