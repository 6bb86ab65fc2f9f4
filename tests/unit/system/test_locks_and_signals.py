import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from llama_runner.system.locks import FileLock
from llama_runner.system.signals import _install_plain, install_stop_signals

HOLDER = """
import sys
from pathlib import Path
from llama_runner.system.locks import FileLock
lock = FileLock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
sys.stdin.read()
"""


def test_a_lock_has_one_owner(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with FileLock(path) as first:
        assert first.acquire()
        assert first.acquire()
        assert first.held
        second = FileLock(path)
        assert not second.acquire()
        assert not second.held
    assert not first.held
    assert second.acquire()
    second.release()
    second.release()


def test_a_killed_owner_gives_its_lock_back(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ) | {"PYTHONPATH": str(root)},
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        lock = FileLock(path)
        assert not lock.acquire()
        holder.kill()
        holder.wait()
        assert lock.acquire()
        lock.release()


def test_a_lock_in_a_missing_folder_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileLock(tmp_path / "nowhere" / "lock").acquire()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent by number")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("plain", [False, True])
async def test_a_stop_signal_arrives_on_the_loop(number: signal.Signals, plain: bool) -> None:
    loop = asyncio.get_running_loop()
    heard: asyncio.Queue[str] = asyncio.Queue()
    before = signal.getsignal(number)
    if plain:
        undo = _install_plain(loop, [number], heard.put_nowait)
    else:
        undo = install_stop_signals(loop, heard.put_nowait)
    os.kill(os.getpid(), number)
    assert await asyncio.wait_for(heard.get(), 5) == number.name
    undo()
    assert signal.getsignal(number) == before
