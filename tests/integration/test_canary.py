"""Secrets over a whole session (safety R9): tokens and keys reach no file, no command line, no output."""

import asyncio
import io
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil
import pytest

from llama_runner.cli import app
from llama_runner.control.runfile import RunFile, read_run_file
from llama_runner.core.paths import create_folders, home_at
from llama_runner.system.environment import self_command
from tests.fakes.metronome import Metronome
from tests.fakes.raw_server import raw_server
from tests.fakes.tls_models import answer, keys_heard
from tests.integration.program import LIMIT_S, Done, run, start

# No known vendor's shape: only what knows where keys go can keep this one back.
PERSONS_KEY: Final = "canary7Yq2Zt9Lw4Xb8Vn3"
SAMPLE_EVERY_S: Final = 0.01


class ArgvWatch:
    """Notes the command line of everything that runs below this process, many times a second."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="argv watch")

    def __enter__(self) -> "ArgvWatch":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(SAMPLE_EVERY_S):
            for child in me.children(recursive=True):
                try:
                    self.seen.add("\0".join(child.cmdline()))
                except psutil.Error:
                    continue


@contextmanager
def debugging_service(home: Path, output: Path) -> Iterator[RunFile]:
    """A service that logs everything it can, to its terminal too."""
    with (
        output.open("wb") as terminal,
        subprocess.Popen(
            [*self_command(), "serve", "--json", "--demo", "--debug", "--control", "127.0.0.1:0"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=terminal,
            start_new_session=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert json.loads(line)["event"] == "ready"
            content = read_run_file(home_at(home))
            assert content is not None
            yield content
            process.terminate()
            rest, _ = process.communicate(timeout=LIMIT_S)
            assert process.returncode == 0
            assert content.token.encode() not in line + rest
        finally:
            if process.poll() is None:
                process.kill()


def launch_key(service_pid: int) -> tuple[str, psutil.Process]:
    """The key of the one loaded model, read where it has to be: in the child's environment."""
    (child,) = psutil.Process(service_pid).children()
    return child.environ()["LLAMA_API_KEY"], child


def files_with(home: Path, secrets: tuple[str, ...]) -> list[str]:
    """Files of a home that hold one of the secrets."""
    found = []
    for path in home.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        found += [f"{path}: secret {n}" for n, secret in enumerate(secrets) if secret.encode() in content]
    return found


def open_to_others(home: Path) -> list[str]:
    """Files and folders that another user may read or write."""
    paths = [home, *home.rglob("*")]
    return [f"{path} {stat.filemode(path.lstat().st_mode)}" for path in paths if path.lstat().st_mode & 0o077]


@pytest.mark.skipif(sys.platform != "linux", reason="reads the environment and the modes as Linux shows them")
def test_no_secret_of_a_whole_session_reaches_a_file_a_command_line_or_an_output(
    home: Path, engine: Path, demo_model: Path, metronome: Metronome, tmp_path: Path
) -> None:
    """R9: serve, load, query, stress, a crash and many failures, everything with debug logging."""
    create_folders(home_at(home))
    terminal = tmp_path / "terminal"
    outputs: list[Done] = []

    def command(*arguments: str) -> Done:
        done = run("--debug", *arguments)
        outputs.append(done)
        return done

    with ArgvWatch() as argv:
        with debugging_service(home, terminal) as service:
            token = service.token
            (model,) = (m["id"] for m in command("models", "--json").json()["models"])
            assert command("load", model, "--json").code == 0
            key, child = launch_key(service.pid)
            assert command("query", "Name a colour.", "--json", "--max-tokens", "8").code == 0
            stress = ("stress", "burst", "--requests", "4", "--concurrency", "2", "--max-tokens", "4")
            assert command(*stress, "--json").code == 0
            for arguments in (("ps",), ("logs", model), ("engines",), ("doctor",), ("config", "list")):
                command(*arguments)
            child.kill()
            command("logs")
        watched = set(argv.seen)
    secrets = (token, key)
    assert [line for line in watched if any(secret in line for secret in secrets)] == []
    assert any(str(demo_model) in line for line in watched), "the watch saw nothing"
    assert all(secret not in done.stdout + done.stderr for done in outputs for secret in secrets)
    assert all(secret not in terminal.read_text("utf-8") for secret in secrets)
    assert files_with(home, secrets) == []
    assert "DEBUG" in (home / "logs" / "llama-runner.log").read_text("utf-8")
    assert open_to_others(home) == []


async def in_process(*arguments: str) -> str:
    """All that a command writes, run on a loop of its own in a thread."""
    stdout, stderr = io.StringIO(), io.StringIO()
    await asyncio.to_thread(app.run, ["--debug", *arguments], stdout=stdout, stderr=stderr)
    return stdout.getvalue() + stderr.getvalue()


@pytest.mark.parametrize("odd", ["", "\n", "ключ", "\x7f"])
async def test_a_persons_key_stays_out_of_errors_logs_and_files(
    home: Path, metronome: Metronome, odd: str
) -> None:
    """R9: a server that refuses, one that is not there, and a key that cannot even be sent."""
    key = PERSONS_KEY + odd
    gone = "http://127.0.0.1:1"
    for arguments in (
        ("query", "Hello", "--server", metronome.url, "--model", "no-such", "--api-key", key),
        ("query", "Hello", "--server", gone, "--api-key", key, "--json"),
        ("servers", "add", metronome.url, "--api-key", key, "--json"),
        ("stress", "burst", "--requests", "1", "--server", metronome.url, "--api-key", key, "--json"),
    ):
        written = await in_process(*arguments)
        assert PERSONS_KEY not in written, arguments
        assert "Unexpected error" not in written, written
    assert files_with(home, (PERSONS_KEY,)) == []
    assert os.environ.get("LLAMA_API_KEY") is None


@pytest.mark.skipif(sys.platform != "linux", reason="reads the modes of files as Linux shows them")
async def test_a_persons_key_reaches_its_server_by_every_command_and_nothing_else(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R9: kept in the file that the person chose, it is in no other file, no output and no command line."""
    create_folders(home_at(home))
    monkeypatch.setenv("LLAMA_RUNNER_API_KEY", PERSONS_KEY)
    with ArgvWatch() as argv:
        async with raw_server(lambda n, head: answer(head, ("a", "b"))) as server:
            host, _, port = server.url.removeprefix("http://").partition(":")
            target = ("--server", server.url, "--model", "a")
            entries = ("--entry", f"{server.url}#a", "--entry", f"{server.url}#b")
            written = await in_process("servers", "add", server.url)
            written += await in_process("servers", "key", "set", server.url, "--place", "file")
            monkeypatch.delenv("LLAMA_RUNNER_API_KEY")
            for arguments in (
                ("discover", "--hosts", host, "--ports", port, "--no-mdns", "--json"),
                ("servers", "list", "--json"),
                ("servers", "check", server.url),
                ("servers", "key", "show-place", server.url, "--json"),
                ("models", "--server", server.url, "--json"),
                ("query", "Hello", *target, "--json"),
                ("embed", "Hello", *target),
                ("tokens", "Hello", *target),
                ("arena", "compare", "Hello", *entries, "--json"),
                ("stress", "burst", *target, "--requests", "2", "--max-tokens", "4", "--json"),
                ("config", "list"),
                ("doctor", "--json"),
                ("logs",),
            ):
                heard = len(keys_heard(server))
                written += await in_process(*arguments)
                if server.url in "".join(arguments) and "show-place" not in arguments:
                    assert len(keys_heard(server)) > heard, arguments
            assert set(keys_heard(server)) == {f"Bearer {PERSONS_KEY}"}
    assert PERSONS_KEY not in written
    assert [line for line in argv.seen if PERSONS_KEY in line] == []
    assert argv.seen, "the watch saw no load worker"
    assert files_with(home, (PERSONS_KEY,)) == [f"{home / 'data' / 'keys.json'}: secret 0"]
    assert open_to_others(home) == []
    assert "answer ended" in (home / "logs" / "llama-runner.log").read_text("utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="reads command lines as Linux shows them")
async def test_a_persons_key_stays_out_of_what_the_window_logs_and_starts(home: Path) -> None:
    """R9: the window fetches the key by itself, asks the server with it, and says it nowhere."""
    create_folders(home_at(home))
    asked = asyncio.Event()

    def note(number: int, head: bytes) -> bytes:
        if PERSONS_KEY.encode() in head:
            asked.set()
        return answer(head)

    async with raw_server(note) as server:
        await in_process("servers", "add", server.url)
        (home / "key").write_text(PERSONS_KEY, "utf-8")
        setting = (
            "servers",
            "key",
            "set",
            server.url,
            "--place",
            "file",
            "--api-key-file",
            str(home / "key"),
        )
        await in_process(*setting)
        (home / "key").unlink()
        assert keys_heard(server) == []
        with ArgvWatch() as argv, start("--debug") as window:
            async with asyncio.timeout(LIMIT_S):
                await asked.wait()
            window.terminate()
            stdout, stderr = await asyncio.to_thread(window.communicate, timeout=LIMIT_S)
        assert set(keys_heard(server)) == {f"Bearer {PERSONS_KEY}"}
    assert PERSONS_KEY.encode() not in stdout + stderr
    assert [line for line in argv.seen if PERSONS_KEY in line] == []
    assert files_with(home, (PERSONS_KEY,)) == [f"{home / 'data' / 'keys.json'}: secret 0"]
