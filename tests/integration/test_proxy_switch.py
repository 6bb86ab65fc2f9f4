"""Listeners of the proxy that come and go while a real service runs, by the settings."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from llama_runner.control.client import ControlClient
from llama_runner.control.launcher import attach
from llama_runner.core.config import load_app_config, save_app_config
from llama_runner.core.editing import replace_setting
from llama_runner.core.paths import create_folders, home_at
from llama_runner.net.client import open_http
from tests.fakes.listening import answers, occupied_port
from tests.integration.service_process import ServiceProcess, run_to_end, started_service

# Slow enough to last longer than the patience at the end of the service, where nothing else is waited for.
SLOW = "SmolLM2-135M-Instruct.Q4_1"
LONG: dict[str, Any] = {
    "model": SLOW,
    "prompt": "x",
    "max_tokens": 200,
    "ignore_eos": True,
    "stream": True,
    "temperature": 0,
}


OFF: dict[str, Any] = {
    "openai_enabled": False,
    "ollama_enabled": False,
    "openai_port": 0,
    "ollama_port": 0,
    "host": "127.0.0.1",
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """One service for all that leave it as it was: starting is tested elsewhere."""
    home = tmp_path_factory.mktemp("switch")
    create_folders(home_at(home))
    with started_service(home, "--demo") as running:
        yield running


@pytest.fixture(autouse=True)
def guarded(shared: ServiceProcess, leak_guard: None) -> None:
    """The service before the guard looks: it is no leak of the first test."""


@pytest.fixture
def home(shared: ServiceProcess) -> Path:
    """Its home, with everything off; the first call of the test sees that."""
    change(shared.home, **OFF)
    return shared.home


def change(home: Path, **values: bool | int | str) -> None:
    """Save settings of the section `proxy`, and tell nobody."""
    place = home_at(home)
    config = load_app_config(place).value
    for name, value in values.items():
        config = replace_setting(config, f"proxy.{name}", value)
    save_app_config(place, config)


@asynccontextmanager
async def control(home: Path) -> AsyncIterator[ControlClient]:
    async with open_http() as http:
        client = await attach(home_at(home), http=http)
        assert client is not None
        yield client


def free_port() -> int:
    with occupied_port() as port:
        return port


async def test_each_switch_opens_and_closes_its_own_listener(home: Path) -> None:
    async with control(home) as client:
        before = await client.health()
        assert (before.openai.port, before.openai.url) == (None, None)
        change(home, openai_enabled=True)
        openai = (await client.reload()).openai
        assert await answers(openai.url)
        change(home, ollama_enabled=True)
        both = await client.reload()
        assert await answers(both.ollama.url)
        assert both.openai == openai
        change(home, openai_enabled=False)
        after = await client.reload()
        assert (after.openai.port, after.openai.url) == (None, None)
        assert not await answers(openai.url)
        assert after.ollama == both.ollama
        assert await answers(after.ollama.url)


async def test_any_call_notices_a_changed_file(home: Path) -> None:
    """Nobody has to know that there is something to be told."""
    async with control(home) as client:
        change(home, openai_enabled=True)
        await client.instances()
        assert await answers((await client.health()).openai.url)


async def test_a_listener_moves_to_another_port(home: Path) -> None:
    async with control(home) as client:
        change(home, openai_enabled=True)
        first = (await client.reload()).openai.url
        port = free_port()
        change(home, openai_port=port)
        moved = (await client.reload()).openai
        assert moved.url == f"http://127.0.0.1:{port}"
        assert await answers(moved.url)
        assert not await answers(first)


async def test_two_listeners_swap_their_ports(home: Path) -> None:
    one, two = free_port(), free_port()
    async with control(home) as client:
        change(home, openai_enabled=True, ollama_enabled=True, openai_port=one, ollama_port=two)
        await client.reload()
        change(home, openai_port=two, ollama_port=one)
        after = await client.reload()
        assert (after.openai.problem, after.ollama.problem) == ("", "")
        async with httpx.AsyncClient(timeout=60) as http:
            assert (await http.get(f"http://127.0.0.1:{one}/api/version")).status_code == 200
            assert (await http.get(f"http://127.0.0.1:{two}/api/v0/models")).status_code == 200


async def test_a_listener_whose_new_port_is_busy_stays_where_it_was(home: Path) -> None:
    """F12: the other one does not get its place either, and both move as soon as they can."""
    async with control(home) as client:
        change(home, openai_enabled=True, ollama_enabled=True)
        before = await client.reload()
        old = int(str(before.openai.url).rpartition(":")[2])
        with occupied_port() as port:
            change(home, openai_port=port, ollama_port=old)
            stays = await client.reload()
            assert (stays.openai.url, stays.ollama.url) == (before.openai.url, before.ollama.url)
            assert stays.openai.problem.startswith(f"Port {port} is in use by ")
            assert f"stays at {before.openai.url}: choose another port" in stays.openai.problem
            assert stays.ollama.problem.startswith(f"Port {old} is in use by this service itself.")
            assert stays.notices == (stays.openai.problem, stays.ollama.problem)
            assert await answers(stays.openai.url) and await answers(stays.ollama.url)
        moved = await client.reload()
        assert (moved.openai.url, moved.ollama.url) == (f"http://127.0.0.1:{port}", before.openai.url)
        assert moved.notices == ()
        assert await answers(moved.openai.url) and await answers(moved.ollama.url)


async def test_a_listener_changes_its_address_and_keeps_its_port(home: Path) -> None:
    async with control(home) as client:
        port = free_port()
        change(home, openai_enabled=True, openai_port=port)
        assert (await client.reload()).openai.url == f"http://127.0.0.1:{port}"
        change(home, host="127.0.0.2")
        after = (await client.reload()).openai
        assert (after.url, after.problem) == (f"http://127.0.0.2:{port}", "")
        assert await answers(after.url)
        assert not await answers(f"http://127.0.0.1:{port}")


async def test_a_busy_port_is_told_by_name_and_tried_again_when_asked(home: Path) -> None:
    """F12: the other dialect works; nothing is tried behind one's back; what was told is taken back."""
    async with control(home) as client:
        with occupied_port() as port:
            change(home, openai_enabled=True, ollama_enabled=True, openai_port=port)
            busy = await client.reload()
            assert busy.openai.url is None
            assert busy.openai.problem.startswith(f"Port {port} is in use by ")
            assert "(pid " in busy.openai.problem
            assert "proxy.openai_port" in busy.openai.problem
            assert busy.notices == (busy.openai.problem,)
            assert await answers(busy.ollama.url)
            assert (await client.reload()).notices == busy.notices
        assert (await client.health()).openai == busy.openai
        now = await client.reload()
        assert (now.openai.problem, now.notices) == ("", ())
        assert await answers(now.openai.url)


async def test_the_command_line_wins_over_the_settings(tmp_path: Path) -> None:
    create_folders(home_at(tmp_path))
    change(tmp_path, **OFF)
    with started_service(tmp_path, "--demo", "--openai", "127.0.0.1:0") as running:
        async with control(tmp_path) as client:
            given = (await client.health()).openai
            assert (given.url, given.fixed) == (running.ready["openai"], True)
            change(tmp_path, openai_enabled=False, openai_port=free_port(), ollama_enabled=True)
            after = await client.reload()
            assert after.openai == given
            assert (after.ollama.fixed, await answers(after.ollama.url)) == (False, True)


async def test_a_file_that_breaks_closes_nothing(home: Path) -> None:
    """C1."""
    async with control(home) as client:
        change(home, openai_enabled=True)
        served = (await client.reload()).openai
        home_at(home).app_config_file.write_text('{"proxy": ')
        after = await client.reload()
        assert after.openai == served
        assert any("app_config.json" in notice for notice in after.notices)
        assert await answers(served.url)


async def test_answers_in_flight_outlive_every_change(home: Path) -> None:
    """On the listener that stays as on the one that goes; the instance behind them is the same one."""
    change(home, openai_enabled=True, ollama_enabled=True)
    async with control(home) as client, httpx.AsyncClient(timeout=60) as http:
        health = await client.health()
        staying, going = f"{health.ollama.url}/v1/completions", f"{health.openai.url}/v1/completions"
        async with (
            http.stream("POST", staying, json=LONG) as one,
            http.stream("POST", going, json=LONG) as two,
        ):
            first, second = one.aiter_raw(), two.aiter_raw()
            seen = [await anext(first), await anext(second)]
            (engine,) = (await client.instances()).instances
            change(home, openai_enabled=False)
            assert (await client.reload()).openai.url is None
            assert not await answers(health.openai.url)
            async for data in second:
                seen[1] += data
            async for data in first:
                seen[0] += data
        for text in seen:
            assert text.rstrip().endswith(b"data: [DONE]"), text[-200:]
            assert text.count(b'"text"') > 100
        (after,) = (await client.instances()).instances
        assert (after.id, after.pid) == (engine.id, engine.pid)
        await client.unload(engine.id)


async def test_an_answer_on_a_listener_that_went_does_not_hold_up_the_end(tmp_path: Path) -> None:
    create_folders(home_at(tmp_path))
    change(tmp_path, **OFF)
    change(tmp_path, openai_enabled=True)
    with started_service(tmp_path, "--demo") as running:
        async with control(tmp_path) as client, httpx.AsyncClient(timeout=60) as http:
            url = (await client.health()).openai.url
            endless = {**LONG, "max_tokens": 100_000}
            async with http.stream("POST", f"{url}/v1/completions", json=endless) as answer:
                assert answer.status_code == 200
                # Kept: a reader that is thrown away closes its connection.
                reader = answer.aiter_raw()
                await anext(reader)
                change(tmp_path, openai_enabled=False)
                await client.reload()
                await client.shutdown()
                assert running.wait(15) == 0
                with suppress(httpx.RemoteProtocolError):
                    async for _ in reader:
                        pass


def test_config_set_tells_the_running_service(home: Path) -> None:
    code, _, err = run_to_end(["config", "set", "proxy.ollama_enabled", "true", "--home", str(home)])
    assert (code, err) == (0, "")
    with occupied_port() as port:
        setting = ["config", "set", "proxy.ollama_port", str(port), "--home", str(home)]
        code, _, err = run_to_end(setting)
        assert code == 0
        assert f"Port {port} is in use by " in err
