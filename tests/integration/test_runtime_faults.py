"""The runtime against a llama-server that misbehaves on command (safety 4.4)."""

import asyncio
import contextlib
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Awaitable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import psutil
import pytest

from llama_runner.core.errors import (
    EngineError,
    LlamaRunnerError,
    ModelFileError,
    NotFoundError,
    ServiceError,
    UsageError,
)
from llama_runner.core.load_options import LoadOptions
from llama_runner.net.client import open_http
from llama_runner.net.ports import pick_free_port
from llama_runner.runtime.instance import InstanceState, Timings
from llama_runner.runtime.manager import RuntimeManager
from tests.fakes.fake_llama_server import fake_engine, starts
from tests.fakes.waiting import is_gone, until
from tests.integration.runtime_support import FAST, open_manager, put_models, until_state

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the fake engine is a shell script")


async def test_a_model_is_loaded_served_and_unloaded(tmp_path: Path) -> None:
    async with open_manager(tmp_path, fake_engine(tmp_path / "engine")) as manager:
        first = await manager.load("a")
        assert first.state is InstanceState.STARTING
        ready = await manager.ensure_ready("a")
        assert ready.state is InstanceState.READY
        assert ready.pid and ready.port and ready.url == f"http://127.0.0.1:{ready.port}"
        assert ready.load_s and 0 < ready.load_s < 10
        assert ready.ram_bytes and ready.ram_bytes > 1_000_000
        assert ready.vram_bytes is None and ready.error is None and ready.started_utc is not None
        url, key = manager.access(ready.id)
        assert url == ready.url
        assert manager.access("a") == (url, key)
        await manager.unload(ready.id)
        assert manager.instances() == ()
        assert is_gone(ready.pid)
        with pytest.raises(NotFoundError):
            manager.access(ready.id)


async def test_callers_of_the_same_model_share_one_child(tmp_path: Path) -> None:
    engine = fake_engine(tmp_path / "engine", {"ready_after_s": 0.3})
    async with open_manager(tmp_path, engine) as manager:
        all_ready = await asyncio.gather(*(manager.ensure_ready("a") for _ in range(20)))
        assert {snapshot.id for snapshot in all_ready} == {"i1"}
        assert (await manager.load("a", LoadOptions(threads=1))).id == "i1"
        assert len(starts(engine)) == 1


async def test_several_models_run_side_by_side(tmp_path: Path) -> None:
    async with open_manager(tmp_path, fake_engine(tmp_path / "engine")) as manager:
        await asyncio.gather(*(manager.ensure_ready(name) for name in "abc"))
        found = manager.instances()
        assert sorted(snapshot.model_id for snapshot in found) == ["a", "b", "c"]
        assert len({snapshot.port for snapshot in found}) == 3
        pids = [snapshot.pid or 0 for snapshot in found]
        await manager.close()
        assert all(map(is_gone, pids))
        with pytest.raises(ServiceError):
            await manager.load("a")


async def test_progress_is_told_while_loading(tmp_path: Path) -> None:
    engine = fake_engine(tmp_path / "engine", {"progress": [0.0, 0.25], "ready_after_s": None})
    async with open_manager(tmp_path, engine) as manager:
        await manager.load("a")
        await until(lambda: manager.instances()[0].progress == 0.25)


async def test_options_reach_the_engine(tmp_path: Path) -> None:
    engine = fake_engine(tmp_path / "engine")
    async with open_manager(tmp_path, engine) as manager:
        await manager.ensure_ready("a", LoadOptions(context_length=1234, threads=3))
        (argv,) = starts(engine)
        assert argv[argv.index("--ctx-size") + 1] == "1234"
        assert argv[argv.index("--threads") + 1] == "3"
        assert "--no-ui" in argv
        with pytest.raises(UsageError, match="no --flash-attn"):
            await manager.load("b", LoadOptions(flash_attention="on"))


async def test_a5_no_secret_and_no_engine_option_is_inherited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LLAMA_ARG_TOOLS", "HF_TOKEN", "OPENAI_API_KEY", "LD_PRELOAD", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "")
        monkeypatch.setitem(os.environ, name, "/nonexistent" if name != "LD_PRELOAD" else "")
    async with open_manager(tmp_path, fake_engine(tmp_path / "engine")) as manager, open_http() as http:
        ready = await manager.ensure_ready("a")
        url, key = manager.access(ready.id)
        reply = await http.get(f"{url}/props", headers={"Authorization": f"Bearer {key}"})
        environment = reply.json()["environment"]
        assert environment["LLAMA_API_KEY"] == key
        assert not environment.keys() & {
            "LLAMA_ARG_TOOLS",
            "HF_TOKEN",
            "OPENAI_API_KEY",
            "LD_PRELOAD",
            "HTTPS_PROXY",
        }
        assert key not in " ".join(psutil.Process(ready.pid).cmdline())
        assert key not in repr(manager.instances())


async def test_a7_an_odd_environment_neither_reaches_the_engine_nor_hinders_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = {
        "LANG": "xx_YY.weird",
        "LC_ALL": "\udcff",
        "PYTHONPATH": "/nowhere",
        "QT_PLUGIN_PATH": "/nowhere",
        "SSL_CERT_FILE": "/nowhere",
        "http_proxy": "http://127.0.0.1:1",
        "GGML_BACKEND_PATH": "/nowhere.so",
    }
    for name, value in odd.items():
        monkeypatch.setitem(os.environ, name, value)
    monkeypatch.delenv("HOME", raising=False)
    async with open_manager(tmp_path, fake_engine(tmp_path / "engine")) as manager:
        ready = await manager.ensure_ready("a")
        environment = psutil.Process(ready.pid or 0).environ()
        assert not environment.keys() & (odd.keys() - {"LANG", "LC_ALL"})
        assert not [name for name in environment if name.startswith("LLAMA_ARG_")]
        assert environment.get("LC_ALL") != odd["LC_ALL"]


async def test_output_is_kept_in_order_and_in_a_private_file(tmp_path: Path) -> None:
    engine = fake_engine(tmp_path / "engine", {"stderr": ["first", "second", "third \x1b[0m"]})
    async with open_manager(tmp_path, engine) as manager:
        ready = await manager.ensure_ready("a")
        lines, following = manager.log_lines(ready.id, 0)
        assert [line for line in lines if "first" in line or "second" in line] == ["first", "second"]
        assert lines[0].startswith("$ ")
        assert manager.log_lines(ready.id, following) == ((), following)
    file = tmp_path / "home" / "logs" / "model-a.log"
    assert "first\nsecond\nthird" in file.read_text(encoding="utf-8")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_f1_a_crashed_child_comes_back(tmp_path: Path) -> None:
    engine = fake_engine(tmp_path / "engine")
    async with open_manager(tmp_path, engine) as manager:
        first = await manager.ensure_ready("a")
        other = await manager.ensure_ready("b")
        os.kill(first.pid or 0, signal.SIGSEGV)
        crashed = await until_state(manager, InstanceState.BACKOFF)
        assert "SIGSEGV" in (crashed.error or "")
        again = await manager.ensure_ready("a")
        assert again.id == first.id and again.pid != first.pid and again.error is None
        assert manager.instances()[1].pid == other.pid


async def test_f2_an_exit_while_loading_fails_at_once_with_the_last_words(tmp_path: Path) -> None:
    engine = fake_engine(
        tmp_path / "engine", {"exit_code": 1, "stderr": ["noise", "E error loading model: bad tensor", "bye"]}
    )
    async with open_manager(tmp_path, engine) as manager:
        # Long before the stall limit, which is longer than a test may take.
        with pytest.raises(EngineError, match=r"could not load the model .*bad tensor") as caught:
            await manager.ensure_ready("a")
        assert caught.value.hint
        (failed,) = manager.instances()
        assert (failed.state, failed.pid, failed.url) == (InstanceState.FAILED, None, None)
        assert len(starts(engine)) == 1


async def test_a_failed_model_is_tried_again_only_on_request(tmp_path: Path) -> None:
    engine = fake_engine(tmp_path / "engine", {"exit_code": 1, "stderr": ["error: no"]}, {})
    async with open_manager(tmp_path, engine) as manager:
        for _ in range(3):
            with pytest.raises(EngineError):
                await manager.ensure_ready("a")
        assert len(starts(engine)) == 1
        await manager.load("a")
        assert (await manager.ensure_ready("a")).state is InstanceState.READY
        assert len(manager.instances()) == 1


async def test_f2_a_load_that_ended_without_a_reason_is_tried_once_more_to_hear_it(tmp_path: Path) -> None:
    reason = "E llama_model_load: error loading model: bad tensor"
    engine = fake_engine(tmp_path / "engine", {"exit_code": 1}, {"exit_code": 1, "stderr": [reason]})
    async with open_manager(tmp_path, engine) as manager:
        with pytest.raises(EngineError, match=r"could not load the model .*bad tensor"):
            await manager.ensure_ready("a")
        assert len(starts(engine)) == 2


async def test_f2_a_load_that_never_tells_its_reason_is_given_up(tmp_path: Path) -> None:
    engine = fake_engine(tmp_path / "engine", {"exit_code": 1})
    async with open_manager(tmp_path, engine) as manager:
        with pytest.raises(EngineError, match=r"\(exit code 1\) without saying why") as caught:
            await manager.ensure_ready("a")
        assert "may be damaged" in caught.value.hint
        assert len(starts(engine)) == 2


async def test_a_failed_model_can_be_dismissed(tmp_path: Path) -> None:
    async with open_manager(tmp_path, fake_engine(tmp_path / "engine", {"exit_code": 1})) as manager:
        with pytest.raises(EngineError):
            await manager.ensure_ready("a")
        await manager.unload("i1")
        assert manager.instances() == ()


async def test_f3_a_load_without_any_progress_is_given_up(tmp_path: Path) -> None:
    engine = fake_engine(tmp_path / "engine", {"ready_after_s": None})
    before = set(psutil.Process().children())
    async with open_manager(tmp_path, engine, load_stall_s=1.0) as manager:
        outcomes = await asyncio.gather(*(_outcome(manager.ensure_ready("a")) for _ in range(3)))
        assert all(isinstance(one, EngineError) and "no progress" in str(one) for one in outcomes)
        assert set(psutil.Process().children()) <= before


async def test_f4_a_frozen_child_is_degraded_and_forgiven(tmp_path: Path) -> None:
    timings = Timings(health_every_s=0.1, health_timeout_s=0.2, misses_degraded=2, misses_hung=1000)
    async with open_manager(tmp_path, fake_engine(tmp_path / "engine"), timings=timings) as manager:
        ready = await manager.ensure_ready("a")
        assert ready.pid
        os.kill(ready.pid, signal.SIGSTOP)
        degraded = await until_state(manager, InstanceState.DEGRADED)
        assert degraded.error and degraded.advice
        assert (await manager.ensure_ready("a")).state is InstanceState.DEGRADED
        os.kill(ready.pid, signal.SIGCONT)
        again = await until_state(manager, InstanceState.READY)
        assert again.pid == ready.pid and again.error is None


async def test_f4_a_child_that_stays_frozen_is_replaced(tmp_path: Path) -> None:
    async with open_manager(tmp_path, fake_engine(tmp_path / "engine")) as manager:
        ready = await manager.ensure_ready("a")
        assert ready.pid
        os.kill(ready.pid, signal.SIGSTOP)
        await until_state(manager, InstanceState.BACKOFF)
        assert is_gone(ready.pid)
        again = await manager.ensure_ready("a")
        assert again.pid != ready.pid


async def _crash(manager: RuntimeManager) -> InstanceState:
    """End the first model's child as a crash does; returns what became of the model."""
    ready = await manager.ensure_ready("a")
    os.kill(ready.pid or 0, signal.SIGSEGV)
    await until(lambda: manager.instances()[0].state in (InstanceState.BACKOFF, InstanceState.FAILED))
    return manager.instances()[0].state


async def test_f5_a_crash_loop_ends_after_three_tries(tmp_path: Path) -> None:
    engine = fake_engine(tmp_path / "engine")
    async with open_manager(tmp_path, engine) as manager:
        assert [await _crash(manager) for _ in range(3)] == ["backoff", "backoff", "failed"]
        failed = manager.instances()[0]
        assert "SIGSEGV" in (failed.error or "")
        assert len(starts(engine)) == 3
        # No request starts it any more ...
        with pytest.raises(EngineError, match="SIGSEGV"):
            await manager.ensure_ready("a")
        assert len(starts(engine)) == 3
        # ... but a person's own load does.
        await manager.load("a")
        assert (await manager.ensure_ready("a")).state is InstanceState.READY
        assert len(starts(engine)) == 4


@pytest.mark.parametrize("ready", [False, True])
async def test_f6_a_child_that_ignores_every_request_is_killed(tmp_path: Path, ready: bool) -> None:
    plan = {"ignore_term": True, "protocol": False, "ready_after_s": 0.05 if ready else None}
    async with open_manager(tmp_path, fake_engine(tmp_path / "engine", plan), stop_grace_s=0.3) as manager:
        await manager.load("a")
        if ready:
            await manager.ensure_ready("a")
        else:
            await until(lambda: starts(tmp_path / "engine" / "llama-server"))
        pid = manager.instances()[0].pid or 0
        await manager.unload("i1")
        assert is_gone(pid)


async def test_f7_a_grandchild_that_holds_the_pipes_does_not_hold_us(tmp_path: Path) -> None:
    async with open_manager(tmp_path, fake_engine(tmp_path / "engine", {"grandchild": True})) as manager:
        ready = await manager.ensure_ready("a")
        assert ready.pid
        (grandchild,) = psutil.Process(ready.pid).children()
        # It would hold them for five minutes.
        await manager.unload(ready.id)
        await until(lambda: is_gone(grandchild.pid))


async def test_f7_a_crash_with_a_grandchild_is_noticed_at_once(tmp_path: Path) -> None:
    plan = {"grandchild": True, "exit_code": 1, "stderr": ["E error loading model"]}
    async with open_manager(tmp_path, fake_engine(tmp_path / "engine", plan)) as manager:
        with pytest.raises(EngineError, match="error loading model"):
            await manager.ensure_ready("a")


async def test_f8_a_flood_of_output_fills_nothing(tmp_path: Path) -> None:
    engine = fake_engine(tmp_path / "engine", {"flood_bytes": 100_000_000})
    async with open_manager(tmp_path, engine, log_ring_bytes=64 * 1024) as manager:
        await manager.ensure_ready("a")
        lines, _ = manager.log_lines("i1", 0)
        assert sum(map(len, lines)) <= 64 * 1024
    assert sum(path.stat().st_size for path in (tmp_path / "home" / "logs").iterdir()) < 25_000_000


@pytest.mark.timing
async def test_f8_a_flood_of_output_blocks_nothing(tmp_path: Path) -> None:
    engine = fake_engine(tmp_path / "engine", {"flood_bytes": 100_000_000})
    async with open_manager(tmp_path, engine) as manager:
        await manager.load("a")
        worst_s, last = 0.0, time.perf_counter()
        while manager.instances()[0].state is not InstanceState.READY:
            await asyncio.sleep(0.005)
            worst_s, last = max(worst_s, time.perf_counter() - last), time.perf_counter()
        assert worst_s < 0.5


class _Stranger(BaseHTTPRequestHandler):
    """Answers everything as a ready llama-server would, and remembers what it was sent."""

    heard: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.heard.append((self.path, self.headers.get("Authorization")))
        body = b'{"status":"ok","model_alias":"a"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextlib.contextmanager
def _stranger() -> Iterator[tuple[int, list[tuple[str, str | None]]]]:
    heard: list[tuple[str, str | None]] = []
    server = HTTPServer(("127.0.0.1", 0), type("Stranger", (_Stranger,), {"heard": heard}))
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1], heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_f11_a_stolen_port_is_given_up_and_the_thief_learns_nothing(tmp_path: Path) -> None:
    with _stranger() as (stolen, heard):
        free = pick_free_port()
        ports = iter([stolen, stolen, free])
        engine = fake_engine(tmp_path / "engine")
        async with open_manager(tmp_path, engine, pick_port=lambda: next(ports)) as manager:
            assert (await manager.ensure_ready("a")).port == free
        assert heard
        assert all(path == "/health" and key is None for path, key in heard)


async def test_f11_a_port_that_cannot_be_bound_is_exchanged(tmp_path: Path) -> None:
    engine, free = fake_engine(tmp_path / "engine"), pick_free_port()
    # Listens and never accepts.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        taken = silent.getsockname()[1]
        ports = iter([taken, taken, free])
        async with open_manager(tmp_path, engine, pick_port=lambda: next(ports)) as manager:
            assert (await manager.ensure_ready("a")).port == free
            assert len(starts(engine)) == 3


@pytest.mark.parametrize("plan", [{"alias": "somebody else"}, {"open": True}])
async def test_f11_a_server_that_is_not_the_one_we_started_is_never_used(
    tmp_path: Path, plan: dict[str, object]
) -> None:
    engine = fake_engine(tmp_path / "engine", plan)
    async with open_manager(tmp_path, engine) as manager:
        with pytest.raises(EngineError, match="Another program answered"):
            await manager.ensure_ready("a")
        assert len(starts(engine)) == 5
        with pytest.raises(EngineError):
            manager.access("i1")


@pytest.mark.parametrize(
    ("asked", "fits", "line", "told"),
    [
        (
            {"context_length": 4096},
            2048,
            "failed to allocate CPU buffer",
            "There was no room for a context of 4096 tokens, so it has 2048.",
        ),
        (
            {"gpu_layers": 2},
            1,
            "cudaMalloc failed: out of memory",
            "The graphics card had no room for 2 layers, so it holds 1.",
        ),
    ],
)
async def test_f13_a_load_that_ran_out_of_memory_is_tried_once_more_with_less(
    tmp_path: Path, asked: dict[str, int], fits: int, line: str, told: str
) -> None:
    plan = {"needs_at_most": fits, "stderr_beyond": [line, "exiting due to model loading error"]}
    engine = fake_engine(tmp_path / "engine", plan)
    async with open_manager(tmp_path, engine) as manager:
        ready = await manager.ensure_ready("a", LoadOptions.model_validate(asked))
        assert ready.note == told
        first, second = starts(engine)
        assert str(*asked.values()) in first
        assert str(fits) in second


async def test_f13_a_load_that_runs_out_of_memory_again_is_told_with_advice(tmp_path: Path) -> None:
    plan = {
        "exit_code": 1,
        "stderr": ["cudaMalloc failed: out of memory", "exiting due to model loading error"],
    }
    engine = fake_engine(tmp_path / "engine", plan)
    async with open_manager(tmp_path, engine) as manager:
        with pytest.raises(EngineError, match="ran out of memory on the graphics card") as caught:
            await manager.ensure_ready("a", LoadOptions(context_length=4096))
        assert "fewer GPU layers or less context" in caught.value.hint
        assert len(starts(engine)) == 2


async def test_f14_a_child_killed_by_the_system_is_not_started_again(tmp_path: Path) -> None:
    engine = fake_engine(tmp_path / "engine")
    async with open_manager(tmp_path, engine) as manager:
        ready = await manager.ensure_ready("a")
        os.kill(ready.pid or 0, signal.SIGKILL)
        failed = await until_state(manager, InstanceState.FAILED)
        assert "The system ended llama-server while running" in (failed.error or "")
        assert failed.advice
        assert len(starts(engine)) == 1


@pytest.mark.parametrize("ready", [False, True])
async def test_f15_a_lost_gpu_is_told_with_advice_and_no_loop(tmp_path: Path, ready: bool) -> None:
    line = "CUDA error: device lost"
    plan = {"dies_saying": line} if ready else {"exit_code": 1, "stderr": [line]}
    engine = fake_engine(tmp_path / "engine", plan)
    async with open_manager(tmp_path, engine) as manager:
        await manager.load("a")
        failed = await until_state(manager, InstanceState.FAILED)
        assert failed.error and failed.error.startswith("llama-server lost the GPU")
        assert "GPU driver" in (failed.advice or "")
        assert len(starts(engine)) == 1


async def test_f4_a_request_that_gets_nowhere_makes_it_degraded_and_then_ends_it(tmp_path: Path) -> None:
    """It answers /health all the while, as a llama-server does whose computing thread hangs."""
    timings = replace(FAST, still_s=0.5)
    engine = fake_engine(tmp_path / "engine", {"stuck_after_ready": True}, {})
    async with open_manager(tmp_path, engine, timings=timings) as manager:
        first = await manager.ensure_ready("a")
        degraded = await until_state(manager, InstanceState.DEGRADED)
        assert "got nowhere with a request" in (degraded.error or "")
        assert degraded.pid == first.pid
        ended = await until_state(manager, InstanceState.BACKOFF)
        assert "got nowhere with a request" in (ended.error or "")
        assert (await manager.ensure_ready("a")).state is InstanceState.READY


async def test_f4_an_engine_that_computes_without_a_token_is_degraded_and_kept(tmp_path: Path) -> None:
    """H18: a schema that it turns in circles with; a long prompt on a slow machine looks the same."""
    engine = fake_engine(tmp_path / "engine", {"spins_after_ready": True}, {})
    timings = replace(FAST, health_timeout_s=5.0, fruitless_s=0.3)
    async with open_manager(tmp_path, engine, timings=timings) as manager:
        first = await manager.ensure_ready("a")
        degraded = await until_state(manager, InstanceState.DEGRADED)
        assert "without a token" in (degraded.error or "")
        assert "runtime.restart_stuck_s" in (degraded.advice or "")
        assert (await manager.ensure_ready("a")).pid == first.pid
        assert len(starts(engine)) == 1


async def test_f4_an_engine_that_computes_without_a_token_is_restarted_where_settings_say_so(
    tmp_path: Path,
) -> None:
    engine = fake_engine(tmp_path / "engine", {"spins_after_ready": True}, {})
    timings = replace(FAST, health_timeout_s=5.0)
    async with open_manager(tmp_path, engine, timings=timings, restart_stuck_s=0.5) as manager:
        first = await manager.ensure_ready("a")
        ended = await until_state(manager, InstanceState.BACKOFF)
        assert "got nowhere with a request" in (ended.error or "")
        assert (await manager.ensure_ready("a")).pid != first.pid


async def test_a_child_that_gave_up_its_port_and_stays_is_ended_at_once(tmp_path: Path) -> None:
    """A llama-server told to end by somebody else while it works; five looks are not waited for."""
    engine = fake_engine(tmp_path / "engine", {"closes_on_term": True}, {})
    timings = replace(FAST, misses_degraded=1000, misses_hung=1000)
    async with open_manager(tmp_path, engine, timings=timings) as manager:
        first = await manager.ensure_ready("a")
        os.kill(first.pid or 0, signal.SIGTERM)
        ended = await until_state(manager, InstanceState.BACKOFF)
        assert "asked to end by somebody else" in (ended.error or "")
        assert is_gone(first.pid or 0)


async def test_a_child_that_gave_up_its_port_as_it_became_ready_is_ended_at_once(tmp_path: Path) -> None:
    """Told to end by somebody else in that moment: llama-server says ready, and stays (one try in twenty)."""
    engine = fake_engine(tmp_path / "engine", {"closed_when_ready": True}, {})
    async with open_manager(tmp_path, engine) as manager:
        await manager.load("a")
        ended = await until_state(manager, InstanceState.FAILED)
        assert "asked to end by somebody else" in (ended.error or "")


async def test_an_illegal_instruction_is_tried_once_without_repacking(tmp_path: Path) -> None:
    plan = {"signal": signal.SIGILL, "signal_unless": "--no-repack"}
    engine = fake_engine(tmp_path / "engine", plan)
    async with open_manager(tmp_path, engine) as manager:
        assert (await manager.ensure_ready("a")).state is InstanceState.READY
        first, second = starts(engine)
        assert "--no-repack" not in first
        assert "--no-repack" in second


async def test_an_illegal_instruction_that_stays_is_told(tmp_path: Path) -> None:
    engine = fake_engine(tmp_path / "engine", {"signal": signal.SIGILL, "signal_unless": "--never"})
    async with open_manager(tmp_path, engine) as manager:
        with pytest.raises(EngineError, match="instruction this processor lacks"):
            await manager.ensure_ready("a")
        assert len(starts(engine)) == 2


async def test_a_server_without_the_child_protocol_works_too(tmp_path: Path) -> None:
    async with open_manager(tmp_path, fake_engine(tmp_path / "engine", {"protocol": False})) as manager:
        ready = await manager.ensure_ready("a")
        await manager.unload(ready.id)
        assert is_gone(ready.pid or 0)


async def test_ensure_ready_during_stop_waits_then_starts(tmp_path: Path) -> None:
    plan = {"ignore_term": True, "protocol": False}
    engine = fake_engine(tmp_path / "engine", plan)
    async with open_manager(tmp_path, engine, stop_grace_s=0.5) as manager:
        first = await manager.ensure_ready("a")
        async with asyncio.TaskGroup() as group:
            group.create_task(manager.unload(first.id))
            await until_state(manager, InstanceState.STOPPING)
            again = await manager.ensure_ready("a")
        assert again.state is InstanceState.READY
        assert again.id != first.id
        assert is_gone(first.pid or 0)


async def test_unloading_lets_what_it_works_on_end_and_nobody_new_begin(tmp_path: Path) -> None:
    engine = fake_engine(tmp_path / "engine")
    async with open_manager(tmp_path, engine, stop_grace_s=60) as manager, asyncio.TaskGroup() as group:
        first = await manager.ensure_ready("a")
        async with manager.use("a"):
            unloading = group.create_task(manager.unload("a"))
            later = group.create_task(_used(manager, "a"))
            # Both have begun; the one waits for the end of this block, the other for the one.
            await asyncio.sleep(0.1)
            assert not unloading.done()
            assert len(starts(engine)) == 1
        await unloading
        assert is_gone(first.pid or 0)
        assert await later != first.url


async def test_a_model_stays_when_whoever_wanted_it_to_leave_gives_up(tmp_path: Path) -> None:
    """H23: a client that leaves while its request waits for room leaves no model that nobody can use."""
    engine = fake_engine(tmp_path / "engine")
    async with open_manager(tmp_path, engine) as manager, asyncio.timeout(20):
        first = await manager.ensure_ready("a")
        async with manager.use("a"), asyncio.TaskGroup() as group:
            anew = group.create_task(manager.load("a", LoadOptions(threads=7), reload=True))
            while (await manager.plan("a")).loaded:  # noqa: ASYNC110 - not told to anybody
                await asyncio.sleep(0)
            waiting = group.create_task(_used(manager, "a"))
            await asyncio.sleep(0)
            anew.cancel()
            # It need not wait for the end of what works with it: it works with the same.
            assert await waiting == first.url
        assert len(starts(engine)) == 1


async def test_unloading_twice_does_not_wait_for_what_it_works_on(tmp_path: Path) -> None:
    async with open_manager(tmp_path, fake_engine(tmp_path / "engine"), stop_grace_s=60) as manager:
        await manager.ensure_ready("a")
        async with manager.use("a"), asyncio.TaskGroup() as group:
            group.create_task(_outcome(manager.unload("a")))
            await asyncio.sleep(0)
            group.create_task(_outcome(manager.unload("a")))
        assert manager.instances() == ()


async def _used(manager: RuntimeManager, model: str) -> str:
    async with manager.use(model) as used:
        return used.url


async def test_unloading_while_loading_releases_who_waits(tmp_path: Path) -> None:
    engine = fake_engine(tmp_path / "engine", {"ready_after_s": None})
    async with open_manager(tmp_path, engine) as manager:
        async with asyncio.TaskGroup() as group:
            waiter = group.create_task(_outcome(manager.ensure_ready("a")))
            await until(lambda: manager.instances() and manager.instances()[0].pid)
            await manager.unload("i1")
        assert isinstance(waiter.result(), EngineError)
        assert "unloaded" in str(waiter.result())


async def _outcome(awaitable: Awaitable[object]) -> object:
    try:
        return await awaitable
    except LlamaRunnerError as error:
        return error


async def test_unloading_during_the_pause_before_a_restart_is_immediate(tmp_path: Path) -> None:
    engine = fake_engine(tmp_path / "engine")
    async with open_manager(tmp_path, engine) as manager:
        await _crash(manager)
        await manager.unload("i1")
        assert manager.instances() == ()
        assert len(starts(engine)) == 1


async def test_a_cancelled_close_kills_at_once(tmp_path: Path) -> None:
    engine = fake_engine(tmp_path / "engine", {"ignore_term": True, "protocol": False})
    async with open_manager(tmp_path, engine, stop_grace_s=60) as manager:
        ready = await manager.ensure_ready("a")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await manager.close()
        assert is_gone(ready.pid or 0)


async def test_g1_a_corrupt_file_is_refused_before_any_start(tmp_path: Path) -> None:
    models = put_models(tmp_path / "models")
    (models / "bad.gguf").write_bytes(b"<!DOCTYPE html>")
    engine = fake_engine(tmp_path / "engine")
    async with open_manager(tmp_path, engine, models=models) as manager:
        with pytest.raises(ModelFileError, match="web page"):
            await manager.load("bad")
        with pytest.raises(NotFoundError, match="no model nope"):
            await manager.load("nope")
        assert starts(engine) == []
        assert manager.instances() == ()


async def test_an_engine_that_is_no_program_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "engine"
    folder.mkdir()
    async with open_manager(tmp_path, folder) as manager:
        with pytest.raises(EngineError, match="not a program"):
            await manager.load("a")


async def test_an_engine_that_vanishes_between_asking_and_starting_is_told(tmp_path: Path) -> None:
    engine = fake_engine(tmp_path / "engine")
    async with open_manager(tmp_path, engine) as manager:
        await _crash(manager)
        engine.unlink()
        failed = await until_state(manager, InstanceState.FAILED)
        assert "cannot be started" in (failed.error or "")


async def test_waiting_for_a_change_ends_with_its_time(tmp_path: Path) -> None:
    async with open_manager(tmp_path, fake_engine(tmp_path / "engine")) as manager:
        assert await manager.wait_change(manager.revision, 0.05) == manager.revision
        assert await manager.wait_change(-1, 5) == manager.revision


async def test_the_demo_model_is_offered_when_there_is_nothing_else(tmp_path: Path, demo_model: Path) -> None:
    engine = fake_engine(tmp_path / "engine")
    async with open_manager(tmp_path, engine, models=put_models(tmp_path / "none")) as manager:
        assert [model.path for model in (await manager.models()).models] == [demo_model]
