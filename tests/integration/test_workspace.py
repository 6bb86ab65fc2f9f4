"""The client side put together: lazy to open, in step with the service, nothing left when closed."""

import asyncio
import json
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import psutil
import pytest

from llama_runner.backends.base import Engine
from llama_runner.backends.live import AnswerState
from llama_runner.backends.request import SamplingOptions
from llama_runner.core.errors import (
    EngineError,
    NotFoundError,
    ProtocolError,
    RefusedError,
    ServiceError,
    UnreachableError,
    UsageError,
)
from llama_runner.core.load_options import LoadOptions
from llama_runner.core.paths import Home, create_folders, home_at
from llama_runner.discovery.registry import ServerSource, ServerStatus
from llama_runner.workspace import Workspace, open_workspace
from llama_runner.workspace.service_link import LinkState
from tests.fakes.metronome import Metronome
from tests.fakes.model_servers import Reply, generic, simulated
from tests.integration.program import adopting_orphans
from tests.integration.service_process import started_service

# Small enough that the model is ready in a second.
OPTIONS: Final = LoadOptions(context_length=512, threads=1, parallel=1)
SHORT: Final = SamplingOptions(max_tokens=8, temperature=0.0, seed=1)


@pytest.fixture
def folders(home: Path) -> Home:
    """A home whose service takes any free port."""
    folders = home_at(home)
    create_folders(folders)
    configure(folders, {})
    return folders


@pytest.fixture(autouse=True)
def orphans() -> Iterator[None]:
    with adopting_orphans():
        yield


def configure(home: Home, runtime: dict[str, object]) -> None:
    """Write settings."""
    settings = {"version": 1, "service": {"control_port": 0}, "runtime": runtime}
    home.app_config_file.write_text(json.dumps(settings))


async def until(workspace: Workspace, wanted: Callable[[], bool]) -> None:
    """Return once `wanted` holds, looking after every change of the service or the registry."""
    changes, records = workspace.service.changes.subscribe(), workspace.registry.changes.subscribe()

    async def follow(subscription: object) -> None:
        async for _ in subscription:  # type: ignore[attr-defined]
            if wanted():
                return

    async with asyncio.timeout(20):
        while not wanted():
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(follow(topic)) for topic in (changes, records)]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()


async def test_opening_is_quick_and_starts_nothing(folders: Home) -> None:
    started = asyncio.get_running_loop().time()
    async with open_workspace(folders) as workspace:
        assert asyncio.get_running_loop().time() - started < 0.5
        assert workspace.service.snapshot.state is LinkState.OFF
        assert workspace.registry.records == ()
        assert "stress" not in workspace.__dict__
        assert "telemetry" not in workspace.__dict__
        assert not await workspace.service.attach()
    assert list(folders.run_dir.iterdir()) == []


async def test_stress_and_telemetry_are_made_when_first_used_and_closed(folders: Home) -> None:
    async with open_workspace(folders) as workspace:
        assert workspace.stress is workspace.stress
        telemetry = workspace.telemetry
        assert await asyncio.to_thread(telemetry.wait_newer, 0, 5.0) >= 1


async def test_a_model_is_loaded_chatted_with_and_unloaded(
    engine: Path, demo_model: Path, folders: Home
) -> None:
    async with open_workspace(folders, demo=True) as workspace:
        service = workspace.service
        (model,) = (await service.models()).models
        target = await service.target(model.id, OPTIONS)

        assert service.snapshot.state is LinkState.CONNECTED
        assert service.snapshot.owned
        (instance,) = service.snapshot.instances
        assert instance.state == "ready"
        (record,) = workspace.registry.records
        assert (record.source, record.status, record.engine) == (
            ServerSource.SERVICE,
            ServerStatus.ONLINE,
            Engine.LLAMA_SERVER,
        )
        assert target.endpoint.api_key
        assert target.label == model.id
        await until(workspace, lambda: bool(workspace.registry.records[0].models[0].context_length))
        assert workspace.registry.records[0].latency_s is not None

        conversation = workspace.chat.new_conversation()
        turn = await workspace.chat.send(conversation, "Hi.", target, SHORT)
        assert turn.state is AnswerState.DONE
        assert turn.text

        again = await service.ensure_ready(model.id, OPTIONS)
        assert again.pid == instance.pid
        assert (await service.log(instance.id)).lines
        await service.unload(instance.id)
        await until(workspace, lambda: workspace.registry.records == ())

    assert not psutil.pid_exists(instance.pid or 0)
    assert list(folders.run_dir.glob("service.json")) == []


async def test_closing_while_a_model_loads_and_an_answer_streams_leaves_nothing(
    engine: Path, demo_model: Path, folders: Home
) -> None:
    async with asyncio.TaskGroup() as group:
        async with open_workspace(folders, demo=True) as workspace:
            target = await workspace.resolve_target()
            conversation = workspace.chat.new_conversation()
            changes = workspace.chat.changed.subscribe()
            sending = group.create_task(workspace.chat.send(conversation, "Tell a long story.", target))
            async for _ in changes:
                if workspace.chat.snapshot(conversation).messages[-1].text:
                    break
        turn = await sending
    assert turn.state is AnswerState.STOPPED
    assert turn.text


async def test_callers_at_the_same_time_share_one_service(folders: Home) -> None:
    async with open_workspace(folders) as workspace, asyncio.TaskGroup() as group:
        tasks = [group.create_task(workspace.service.ensure()) for _ in range(3)]
        clients = await asyncio.gather(*tasks)
        assert len(set(clients)) == 1


async def test_a_service_of_somebody_else_is_used_and_left(folders: Home) -> None:
    with started_service(folders.root) as service:
        async with open_workspace(folders) as workspace:
            assert await workspace.service.attach()
            snapshot = workspace.service.snapshot
            assert (snapshot.state, snapshot.owned) == (LinkState.CONNECTED, False)
            assert snapshot.pid == service.process.pid
            assert snapshot.url == service.url
        assert service.process.poll() is None


async def test_a_service_that_restarts_is_found_again(folders: Home) -> None:
    async with open_workspace(folders) as workspace:
        with started_service(folders.root) as first:
            assert await workspace.service.attach()
            first.process.kill()
            first.wait()
        await until(workspace, lambda: workspace.service.snapshot.state is LinkState.RECONNECTING)
        with started_service(folders.root) as second:
            await until(workspace, lambda: workspace.service.snapshot.state is LinkState.CONNECTED)
            assert workspace.service.snapshot.pid == second.process.pid


async def test_a_service_of_ours_that_was_killed_is_started_again_when_needed(
    engine: Path, demo_model: Path, folders: Home
) -> None:
    async with open_workspace(folders, demo=True) as workspace:
        await workspace.resolve_target()
        first = workspace.service.snapshot.pid
        assert first is not None
        psutil.Process(first).kill()
        await until(workspace, lambda: workspace.service.snapshot.state is LinkState.RECONNECTING)
        assert workspace.registry.records == ()

        await workspace.service.ensure()
        assert workspace.service.snapshot.pid != first


async def test_the_owner_may_say_that_the_service_stays(folders: Home) -> None:
    async with open_workspace(folders) as workspace:
        await workspace.service.ensure()
        pid = workspace.service.snapshot.pid
        await workspace.service.set_keep(True)
        assert workspace.service.snapshot.keep
    async with open_workspace(folders) as workspace:
        assert await workspace.service.attach()
        assert workspace.service.snapshot.pid == pid
        await (await workspace.service.ensure()).shutdown()
        await until(workspace, lambda: workspace.service.snapshot.state is LinkState.RECONNECTING)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script as engine")
async def test_f2_an_engine_that_ends_at_once_says_so(
    demo_model: Path, folders: Home, tmp_path: Path
) -> None:
    broken = tmp_path / "llama-server"
    broken.write_text("#!/bin/sh\necho 'no such device' >&2\nexit 1\n")
    broken.chmod(broken.stat().st_mode | stat.S_IXUSR)
    configure(folders, {"engine_path": {"linux": str(broken)}})

    async with open_workspace(folders) as workspace:
        with pytest.raises(EngineError) as caught:
            await workspace.resolve_target()

    assert caught.value.message
    assert caught.value.hint


async def test_an_unknown_model_is_refused_with_what_there_is(demo_model: Path, folders: Home) -> None:
    async with open_workspace(folders, demo=True) as workspace:
        with pytest.raises(NotFoundError, match="SmolLM2"):
            await workspace.resolve_target(model="SmolLM")


async def test_a_closed_workspace_starts_no_service_any_more(folders: Home) -> None:
    async with open_workspace(folders) as workspace:
        service = workspace.service
    with pytest.raises(ServiceError, match="closing"):
        await service.ensure()


async def test_a_service_that_cannot_start_leaves_a_failed_state_with_its_reason(folders: Home) -> None:
    folders.logs_dir.rmdir()
    folders.logs_dir.write_text("in the way")

    async with open_workspace(folders) as workspace:
        with pytest.raises(ServiceError):
            await workspace.service.ensure()
        snapshot = workspace.service.snapshot

    assert snapshot.state is LinkState.FAILED
    assert snapshot.error is not None


async def test_a_remote_server_is_resolved_without_the_service(folders: Home, metronome: Metronome) -> None:
    async with open_workspace(folders) as workspace:
        only = await workspace.resolve_target(metronome.url)
        named = await workspace.resolve_target(f"{metronome.url}/v1/", "plan:x")

        assert only.model_id == "metronome"
        assert only.endpoint.base_url == metronome.url
        assert named.model_id == "plan:x"
        assert workspace.service.snapshot.state is LinkState.OFF
        assert workspace.registry.records == ()


async def test_remote_servers_that_cannot_be_used_each_say_why(folders: Home) -> None:
    async with (
        open_workspace(folders) as workspace,
        simulated({}, otherwise=Reply(b"<html>")) as page,
        simulated({}, otherwise=Reply(b"{}", 401)) as guarded,
        simulated(generic("a", "b")) as several,
    ):
        with pytest.raises(ProtocolError, match="web page"):
            await workspace.resolve_target(page.url)
        with pytest.raises(RefusedError, match="API key"):
            await workspace.resolve_target(guarded.url)
        with pytest.raises(UsageError, match="a, b"):
            await workspace.resolve_target(several.url)
        with pytest.raises(UnreachableError):
            await workspace.resolve_target("http://127.0.0.1:1")


async def test_settings_that_change_count_from_then_on(folders: Home) -> None:
    async with open_workspace(folders) as workspace:
        before = workspace.answer_limits()
        chat = workspace.settings.chat.model_copy(update={"idle_timeout_s": 7.0})
        config = workspace.config
        workspace.use_config(replace(config, value=config.value.model_copy(update={"chat": chat})))

        assert before.idle_s == 120
        assert workspace.answer_limits().idle_s == 7
