"""The service as a process: start, one per home, who may talk to it, and how it ends."""

import asyncio
import dataclasses
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from llama_runner.control.client import ControlClient
from llama_runner.control.launcher import START_LOG, attach, attach_or_start, start_owned
from llama_runner.control.runfile import (
    AlreadyRunningError,
    RunFile,
    lock_path,
    read_run_file,
    run_file_path,
    running_service,
    write_run_file,
)
from llama_runner.core.errors import ConfigError, PortInUseError, RefusedError, UnreachableError
from llama_runner.core.paths import create_folders, home_at
from llama_runner.net.client import open_http
from llama_runner.system.background import BackgroundProgram
from llama_runner.system.identity import identity
from llama_runner.system.locks import FileLock
from tests.fakes.waiting import until
from tests.integration.service_process import (
    LIMIT_S,
    ServiceProcess,
    run_to_end,
    service_argv,
    started_service,
)


def ask(service: ServiceProcess, method: str, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """One raw request; `Host` and the token can be overridden, `-` leaves one out."""
    wanted = {"Host": urlsplit(service.url).netloc, "Authorization": f"Bearer {service.run_file.token}"}
    wanted |= {name.replace("_", "-"): value for name, value in headers.items()}
    parts = urlsplit(service.url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=LIMIT_S)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in wanted.items():
            if value != "-":
                connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    finally:
        connection.close()


def test_the_ready_line_names_what_is_served(home: Path) -> None:
    with started_service(home) as service:
        assert service.ready == {"event": "ready", "openai": None, "ollama": None, "control": service.url}
        status, _, body = ask(service, "GET", "/api/v1/health")
        health = json.loads(body)
        assert (status, health["status"], health["pid"]) == (200, "ok", service.process.pid)
        assert (health["owned"], health["keep"], health["notices"]) == (False, False, [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_code_0_and_without_a_trace(home: Path, number: signal.Signals) -> None:
    """F40."""
    with started_service(home) as service:
        service.signal(number)
        assert service.wait() == 0
        assert service.process.stdout is not None
        assert service.process.stdout.read() == b""
    assert not run_file_path(home_at(home)).exists()
    lock = FileLock(lock_path(home_at(home)))
    assert lock.acquire()
    lock.release()


async def test_the_control_api_ends_it(home: Path) -> None:
    with started_service(home) as service:
        async with open_http() as http_client:
            client = await attach(home_at(home), http=http_client)
            assert client is not None
            await client.shutdown()
            assert await asyncio.to_thread(service.wait) == 0
            assert await attach(home_at(home), http=http_client) is None


def test_serve_stop_ends_it_and_says_so(home: Path) -> None:
    with started_service(home) as service:
        code, stdout, _ = run_to_end(["serve", "--stop", "--json"])
        assert (code, json.loads(stdout)) == (0, {"stopped": True, "pid": service.process.pid})
        assert service.wait() == 0
    code, stdout, _ = run_to_end(["serve", "--stop", "--json"])
    assert (code, json.loads(stdout)) == (0, {"stopped": False, "pid": None})


async def test_a_waiting_request_does_not_hold_up_the_end(home: Path) -> None:
    with started_service(home) as service:
        async with open_http() as http_client:
            client = await attach(home_at(home), http=http_client)
            assert client is not None
            revision = (await client.instances()).revision
            async with asyncio.TaskGroup() as group:
                waiting = group.create_task(client.instances(after=revision, wait_s=30))
                # It may need a connection of its own: by the time of these it has reached the service.
                for _ in range(10):
                    await client.health()
                service.signal(signal.SIGTERM)
                assert await asyncio.to_thread(service.wait, 25) == 0
            assert waiting.result().instances == ()


# --- who may talk to it ------------------------------------------------------------------------------------


def test_only_the_right_token_from_the_right_place_gets_in(home: Path) -> None:
    """R1, H1, H6, H7, H9, I18."""
    with started_service(home) as service:
        port = urlsplit(service.url).port
        path = "/api/v1/instances"
        assert ask(service, "GET", path)[0] == 200
        assert ask(service, "GET", path, Host=f"localhost:{port}")[0] == 200
        # Its own page, which still needs the token or a session.
        own = {"Origin": f"http://127.0.0.1:{port}"}
        assert ask(service, "GET", path, **own)[0] == 200
        assert ask(service, "GET", path, **own, Authorization="-")[0] == 401
        for refused, headers in (
            (401, {"Authorization": "Bearer wrong"}),
            (401, {"Authorization": "-"}),
            (401, {"Authorization": f"Basic {service.run_file.token}"}),
            (421, {"Host": f"evil.test:{port}"}),
            (421, {"Host": "127.0.0.1"}),
            (421, {"Host": "127.0.0.1:1"}),
            (403, {"Origin": "https://evil.test"}),
            (403, {"Origin": "null"}),
            (403, {"Origin": "http://127.0.0.1"}),
            (403, {"Origin": "http://127.0.0.1:1234"}),
            (403, {"Origin": f"https://127.0.0.1:{port}"}),
            (403, {"Sec_Fetch_Site": "cross-site"}),
        ):
            for method in ("GET", "POST", "OPTIONS", "DELETE"):
                status, answer_headers, body = ask(service, method, path, **headers)
                assert status == refused, (method, headers)
                assert "access-control-allow-origin" not in answer_headers
                assert set(json.loads(body)["error"]) == {"kind", "message", "hint"}
                assert service.run_file.token.encode() not in body
        # Without any Host it is not even HTTP/1.1.
        assert ask(service, "GET", path, Host="-")[0] == 400


def test_what_is_not_in_the_api_is_an_error_of_the_one_shape(home: Path) -> None:
    with started_service(home) as service:
        for method, path, expected in (
            ("GET", "/", 404),
            ("GET", "/api/v1/nothing", 404),
            ("GET", "/api/v1/../v1/health", 404),
            ("DELETE", "/api/v1/health", 405),
            ("POST", "/api/v1/models", 405),
            ("GET", "/api/v1/instances/nobody/log", 404),
            ("GET", "/api/v1/instances/nobody/access", 404),
            ("DELETE", "/api/v1/instances/nobody", 404),
            ("GET", "/api/v1/instances?after=x", 400),
            ("GET", "/api/v1/instances?after=-1", 400),
            ("GET", "/api/v1/instances?after=0&wait_s=nan", 400),
            ("POST", "/api/v1/instances", 400),
            ("POST", "/api/v1/keep", 400),
        ):
            status, headers, body = ask(service, method, path)
            assert status == expected, (method, path, body)
            assert set(json.loads(body)["error"]) == {"kind", "message", "hint"}
            assert headers["cache-control"] == "no-store"


# --- one per home ------------------------------------------------------------------------------------------


def test_of_many_that_start_at_the_same_moment_one_wins(home: Path) -> None:
    """F41."""
    (home / "data" / "run").mkdir(parents=True)
    barrier = threading.Barrier(4)

    def start() -> BackgroundProgram:
        barrier.wait(LIMIT_S)
        return BackgroundProgram(
            service_argv(home, "--control", "127.0.0.1:0", "--owned"),
            env=os.environ,
            errors_to=Path(os.devnull),
        )

    started: list[BackgroundProgram] = []
    threads = [threading.Thread(target=lambda: started.append(start())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        said = [program.read_line() for program in started]
        winners = [p for p, line in zip(started, said, strict=True) if b'"ready"' in line]
        losers = [p for p in started if p not in winners]
        assert len(winners) == 1
        for loser in losers:
            assert b"already_running" in loser.read_rest()
            assert loser.wait(LIMIT_S) == 1
        content = read_run_file(home_at(home))
        assert content is not None
        assert content.pid == winners[0].pid
    finally:
        for program in started:
            program.end_stdin()
            assert program.wait(LIMIT_S) is not None
            program.let_go()


async def test_clients_that_start_together_share_one_service(home: Path) -> None:
    """F41: whoever comes second attaches."""
    create_folders(home_at(home))
    use_any_port(home)
    async with open_http() as http_client:
        connections = await asyncio.gather(
            *(attach_or_start(home_at(home), http=http_client) for _ in range(3))
        )
        try:
            owners = [connection for connection in connections if connection.owned]
            assert len(owners) == 1
            assert len({connection.client.url for connection in connections}) == 1
        finally:
            for connection in connections:
                await connection.close()
        # The service hears of the last one's end when it hears of it; nobody is left to wait for it.
        await until(lambda: running_service(home_at(home)) is None)
        assert await attach(home_at(home), http=http_client) is None


def test_a_second_service_names_the_first(home: Path) -> None:
    with started_service(home) as service:
        code, stdout, _ = run_to_end(["serve", "--json", "--control", "127.0.0.1:0"])
        error = json.loads(stdout)["error"]
        assert (code, error["kind"]) == (1, AlreadyRunningError.kind)
        assert f"pid {service.process.pid}" in error["message"]
        assert "serve --stop" in error["hint"]


def use_any_port(home: Path) -> None:
    """Owned services take the port of the settings; tests never use the real one."""
    (home / "config").mkdir(exist_ok=True)
    (home / "config" / "app_config.json").write_text('{"version": 1, "service": {"control_port": 0}}')


async def test_a_stale_run_file_with_a_recycled_pid_is_not_trusted_and_replaced(home: Path) -> None:
    """F9: the token of the file goes to nobody."""
    folders = home_at(home)
    create_folders(folders)
    heard = threading.Event()
    stranger = socket.create_server(("127.0.0.1", 0))
    me = identity(os.getpid())
    assert me is not None
    url = f"http://127.0.0.1:{stranger.getsockname()[1]}"
    stale = RunFile(me.pid, me.create_time - 50, url, "old token", "0")

    def accept() -> None:
        try:
            stranger.accept()[0].close()
        except OSError:
            return
        heard.set()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        write_run_file(folders, stale)
        async with open_http() as http_client:
            assert await attach(folders, http=http_client) is None
        with started_service(home) as service:
            assert service.run_file.pid == service.process.pid
    finally:
        stranger.shutdown(socket.SHUT_RDWR)
        stranger.close()
        thread.join()
    assert not heard.is_set()


async def test_a_run_file_of_a_living_stranger_is_not_trusted(home: Path) -> None:
    """The process exists and is the one of the file, but what answers at the URL is not it."""
    with started_service(home) as service:
        async with open_http() as http_client:
            me = identity(os.getpid())
            assert me is not None
            forged = dataclasses.replace(service.run_file, pid=me.pid, create_time=me.create_time)
            write_run_file(home_at(home), forged)
            assert await attach(home_at(home), http=http_client) is None


# --- ports and addresses -----------------------------------------------------------------------------------


def test_a_busy_control_port_names_the_program(home: Path) -> None:
    """F12."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, stdout, _ = run_to_end(["serve", "--json", "--control", f"127.0.0.1:{port}"])
        error = json.loads(stdout)["error"]
        assert (code, error["kind"]) == (1, PortInUseError.kind)
        assert f"Port {port} is in use by " in error["message"]
        assert f"(pid {os.getpid()})" in error["message"]
        assert "--control" in error["hint"]
        code, stdout, stderr = run_to_end(["serve", "--control", f"127.0.0.1:{port}"])
        assert (code, stdout) == (1, "")
        assert error["message"] in stderr
        assert "Traceback" not in stderr
    assert not run_file_path(home_at(home)).exists()


async def test_an_owned_service_takes_another_port_and_tells(home: Path) -> None:
    """F12."""
    create_folders(home_at(home))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        (home / "config" / "app_config.json").write_text(
            json.dumps({"version": 1, "service": {"control_port": port}})
        )
        async with open_http() as http_client:
            service = await start_owned(home_at(home), http=http_client)
            try:
                notices = (await service.client.health()).notices
            finally:
                await service.close()
    assert any(f"Port {port} is in use by" in notice for notice in notices)


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.168.1.5", "example.org"])
def test_other_machines_are_never_let_in(home: Path, host: str) -> None:
    """C6."""
    code, stdout, _ = run_to_end(["serve", "--json", "--control", f"{host}:0"])
    assert (code, json.loads(stdout)["error"]["kind"]) == (2, ConfigError.kind)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--openai", "nonsense"],
        ["--ollama", "0.0.0.0:0"],
        ["--control", "nonsense"],
        ["--models", "/nowhere/at/all"],
        ["--engine", "/nowhere/at/all"],
    ],
)
def test_what_cannot_be_served_is_a_usage_error(home: Path, arguments: list[str]) -> None:
    code, stdout, _ = run_to_end(["serve", "--json", *arguments])
    assert code == 2
    assert json.loads(stdout)["error"]["hint"]


async def test_ipv6_is_served_too(home: Path) -> None:
    with started_service(home, control="[::1]:0") as service:
        assert service.url.startswith("http://[::1]:")
        async with open_http() as http_client:
            assert await attach(home_at(home), http=http_client) is not None


# --- owners ------------------------------------------------------------------------------------------------


async def test_an_owned_service_ends_with_its_owner(home: Path) -> None:
    create_folders(home_at(home))
    use_any_port(home)
    async with open_http() as http_client:
        service = await start_owned(home_at(home), http=http_client)
        assert (await service.client.health()).owned
        if sys.platform != "win32":
            assert (home / "logs" / START_LOG).stat().st_mode & 0o777 == 0o600
        await service.close()
        assert not psutil.pid_exists(service.pid)
        with pytest.raises(UnreachableError):
            await service.client.health()
        await service.close()


async def test_a_kept_service_stays_and_belongs_to_nobody(home: Path) -> None:
    create_folders(home_at(home))
    use_any_port(home)
    async with open_http() as http_client:
        service = await start_owned(home_at(home), http=http_client)
        await service.set_keep(True)
        await service.close()
        client = await attach(home_at(home), http=http_client)
        assert client is not None
        process = psutil.Process(service.pid)
        # The end of its stdin arrives when it arrives: it answers as nobody's soon after.
        async with asyncio.timeout(LIMIT_S):
            while (await client.health()).owned:  # noqa: ASYNC110 - another process's state has no event here
                await asyncio.sleep(0.01)
        await client.shutdown()
        await asyncio.to_thread(process.wait, LIMIT_S)


OWNER = """
import asyncio, sys
from pathlib import Path
from llama_runner.control.launcher import start_owned
from llama_runner.core.paths import home_at
from llama_runner.net.client import open_http

async def main():
    async with open_http() as http:
        service = await start_owned(home_at(Path(sys.argv[1])), http=http, keep_serving=sys.argv[2] == "keep")
        print(service.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("keep", [False, True])
def test_an_owner_killed_with_9_takes_its_service_along_unless_kept(home: Path, keep: bool) -> None:
    """F9 for the window: nothing of it can run any more, the service notices by itself."""
    create_folders(home_at(home))
    use_any_port(home)
    argv = [sys.executable, "-c", OWNER, str(home), "keep" if keep else "end"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        service = psutil.Process(int(owner.stdout.readline()))
        owner.kill()
    if keep:
        code, stdout, _ = run_to_end(["serve", "--stop", "--json"])
        assert (code, json.loads(stdout)["pid"]) == (0, service.pid)
    service.wait(LIMIT_S)
    assert not run_file_path(home_at(home)).exists()


async def test_a_service_that_cannot_start_says_why_through_the_launcher(home: Path) -> None:
    create_folders(home_at(home))
    use_any_port(home)
    with started_service(home):
        async with open_http() as http_client:
            with pytest.raises(AlreadyRunningError, match="already running"):
                await start_owned(home_at(home), http=http_client)


async def test_a_client_with_the_wrong_token_is_refused(home: Path) -> None:
    with started_service(home) as service:
        async with open_http() as http_client:
            client = ControlClient(url=service.url, token="wrong", http=http_client)
            with pytest.raises(RefusedError):
                await client.health()
