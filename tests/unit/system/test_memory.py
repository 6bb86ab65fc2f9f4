"""What many threads freed is used again, in a process of its own: its pools are for good."""

import platform
import subprocess
import sys

import pytest

_GROW = """
import re, threading, sys
from pathlib import Path
from llama_runner.system.memory import share_freed_memory

if sys.argv[1] == "shared":
    share_freed_memory()
ready, go = threading.Barrier(9), threading.Event()

def work():
    held = [bytes(1000) for _ in range(2000)]
    ready.wait()
    go.wait()
    del held

threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
ready.wait()
# Pools of other threads are mapped in pieces of 64 MiB, most of it without rights yet.
print(len(re.findall(r"---p", Path("/proc/self/maps").read_text())))
go.set()
for thread in threads:
    thread.join()
"""


def pools(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", _GROW, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_threads_share_one_pool() -> None:
    assert pools("shared") < pools("own")
