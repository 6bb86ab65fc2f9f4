"""Windows half of the process helpers; `_posix` has the same names."""

import ctypes
import logging
import msvcrt
import os
import signal
import sys
from ctypes import wintypes
from typing import Any, Final

from llama_runner.system import job_objects

# For the type checker; `processes` imports the right half.
assert sys.platform == "win32"

log = logging.getLogger(__name__)

_KERNEL32: Final = ctypes.WinDLL("kernel32", use_last_error=True)
_KERNEL32.CreateJobObjectW.restype = wintypes.HANDLE
_KERNEL32.CreateJobObjectW.argtypes = (wintypes.LPVOID, wintypes.LPCWSTR)
_KERNEL32.SetInformationJobObject.argtypes = (wintypes.HANDLE, ctypes.c_int, wintypes.LPVOID, wintypes.DWORD)
_KERNEL32.AssignProcessToJobObject.argtypes = (wintypes.HANDLE, wintypes.HANDLE)
_KERNEL32.TerminateJobObject.argtypes = (wintypes.HANDLE, wintypes.UINT)
_KERNEL32.OpenProcess.restype = wintypes.HANDLE
_KERNEL32.OpenProcess.argtypes = (wintypes.DWORD, wintypes.BOOL, wintypes.DWORD)
_KERNEL32.CloseHandle.argtypes = (wintypes.HANDLE,)

# What a process ended by us reports; SIGKILL's number, so that logs of both systems read alike.
_KILLED: Final = 9


def spawn_options(*, die_with_parent: bool) -> dict[str, Any]:
    """Keyword arguments for the spawn call; dying with the parent is the job's part."""
    return {"creationflags": job_objects.creation_flags()}


class ProcessTree:
    """The job of one child: everything it starts is in it too."""

    def __init__(self, pid: int, *, die_with_parent: bool) -> None:
        self._pid = pid
        self._job: int | None = _KERNEL32.CreateJobObjectW(None, None)
        limits = job_objects.job_limits(die_with_parent=die_with_parent)
        process = _KERNEL32.OpenProcess(
            job_objects.PROCESS_TERMINATE | job_objects.PROCESS_SET_QUOTA, False, pid
        )
        put_in = (
            bool(self._job and process)
            and _KERNEL32.SetInformationJobObject(
                self._job,
                job_objects.JOB_OBJECT_EXTENDED_LIMIT_INFORMATION,
                ctypes.byref(limits),
                ctypes.sizeof(limits),
            )
            and _KERNEL32.AssignProcessToJobObject(self._job, process)
        )
        if not put_in:
            # The stdin guard still ends a llama-server whose parent died; only a hung one would stay.
            log.warning("child not in a job pid=%d winerror=%d", pid, ctypes.get_last_error())
        if process:
            _KERNEL32.CloseHandle(process)

    def ask_to_end(self) -> bool:
        """CTRL_BREAK to the group. False when it cannot be delivered: no console is shared."""
        try:
            os.kill(self._pid, signal.CTRL_BREAK_EVENT)
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """End every process of the job."""
        if self._job is not None:
            _KERNEL32.TerminateJobObject(self._job, _KILLED)

    def close(self) -> None:
        """Close the job; with `die_with_parent` that ends what is left in it."""
        if self._job is not None:
            _KERNEL32.CloseHandle(self._job)
            self._job = None


def lock_file(fd: int) -> bool:
    """Take the exclusive lock of an open file. False when another process holds it."""
    os.lseek(fd, 0, os.SEEK_SET)
    try:
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
    except OSError:
        return False
    return True


def unlock_file(fd: int) -> None:
    """Give the lock back."""
    os.lseek(fd, 0, os.SEEK_SET)
    msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)
