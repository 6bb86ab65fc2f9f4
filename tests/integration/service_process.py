"""A real service in a process of its own, as tests of the serving side start it."""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from llama_runner.control.runfile import RunFile, read_run_file
from llama_runner.core.paths import home_at
from llama_runner.system.environment import self_command

# Bounds every wait below: starting takes a second, several times that on a busy machine.
LIMIT_S: Final = 60.0


@dataclass
class ServiceProcess:
    """One started service.

    Attributes:
        ready: Its first line, parsed.
    """

    process: "subprocess.Popen[bytes]"
    home: Path
    said: Path
    ready: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The control API."""
        return str(self.ready["control"])

    @property
    def run_file(self) -> RunFile:
        """What it published."""
        content = read_run_file(home_at(self.home))
        assert content is not None
        return content

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the service alone, not to its children."""
        self.process.send_signal(number)

    def wait(self, limit_s: float = LIMIT_S) -> int:
        """Its exit code."""
        return self.process.wait(limit_s)

    def stderr(self) -> str:
        """Everything it wrote to stderr."""
        return self.said.read_bytes().decode()


def service_argv(home: Path, *arguments: str) -> list[str]:
    """The command that starts a service for `home` on any free port."""
    return [*self_command(), "serve", "--json", "--home", str(home), *arguments]


@contextmanager
def started_service(
    home: Path, *arguments: str, control: str = "127.0.0.1:0", stdin: int = subprocess.DEVNULL
) -> Iterator[ServiceProcess]:
    """Start a service, wait until it is ready; end it in any case."""
    # A file: nobody reads a pipe meanwhile, and the log would stop where it is full.
    with tempfile.NamedTemporaryFile() as log:
        argv = service_argv(home, "--control", control, *arguments)
        with started(argv, home, log=Path(log.name), stdin=stdin) as service:
            yield service


@contextmanager
def started(
    argv: Sequence[str], home: Path, *, log: Path, stdin: int = subprocess.DEVNULL, cwd: Path | None = None
) -> Iterator[ServiceProcess]:
    """Start a service by a command of its own; what it writes to stderr is added to `log`."""
    with (
        log.open("ab") as stderr,
        subprocess.Popen(
            argv, cwd=cwd, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True
        ) as process,
    ):
        service = ServiceProcess(process, home, log)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if b'"ready"' not in line:
                said = line + process.stdout.read()
                raise AssertionError(f"no service: {said.decode()} {service.stderr()}")
            service.ready = json.loads(line)
            yield service
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(LIMIT_S)


def run_to_end(arguments: Sequence[str], *, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Run the program with `arguments`: exit code, stdout, stderr."""
    done = subprocess.run(
        [*self_command(), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LIMIT_S,
        env={**os.environ, **(env or {})},
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def children_of(pid: int) -> list[psutil.Process]:
    """Every process that `pid` started, directly or not."""
    return psutil.Process(pid).children(recursive=True)


def all_gone(processes: Sequence[psutil.Process], limit_s: float = 20.0) -> bool:
    """Whether all of them end within `limit_s`. A zombie has ended: who inherits it may take its time."""
    deadline_s = time.monotonic() + limit_s
    while not all(_is_over(process) for process in processes):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.01)
    return True


def _is_over(process: psutil.Process) -> bool:
    try:
        # `is_running` compares the start time: a recycled pid is another process.
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
