"""What an exit code means, on either system, as people can look it up."""

import signal
from typing import Final

# NTSTATUS values a crashed Windows process returns as its exit code.
_NTSTATUS: Final = {
    0xC0000005: "access violation",
    0xC0000017: "out of memory",
    0xC000001D: "illegal instruction",
    0xC00000FD: "stack overflow",
    0xC000007B: "wrong kind of program file (32 or 64 bit)",
    0xC0000135: "a DLL is missing",
    0xC0000139: "a DLL is of the wrong version",
    0xC000013A: "stopped by Ctrl+C",
    0xC0000142: "a DLL failed to start",
    0xC0000374: "heap corruption",
    0xC0000409: "aborted",
}
_SHELL_SIGNAL_BASE: Final = 128
_SIGILL: Final = 4
_SIGKILL: Final = 9
_NTSTATUS_ILLEGAL_INSTRUCTION: Final = 0xC000001D
_NTSTATUS_NO_MEMORY: Final = 0xC0000017
_NTSTATUS_LIBRARY: Final = frozenset({0xC0000135, 0xC0000139, 0xC0000142})


def _signal_number(returncode: int, platform: str) -> int | None:
    if platform == "win32":
        return None
    if returncode < 0:
        return -returncode
    # A wrapper script passes a signal on as 128 + n; llama-server itself uses small codes only.
    return returncode - _SHELL_SIGNAL_BASE if returncode > _SHELL_SIGNAL_BASE else None


def describe_exit(returncode: int, platform: str) -> str:
    """For example "exit code 1", "signal 11 (SIGSEGV)", "0xC0000005 (access violation)"."""
    if platform == "win32":
        # Python hands the unsigned value out; some wrappers the signed one.
        status = returncode & 0xFFFFFFFF
        if status < 0x80000000:
            return f"exit code {returncode}"
        meaning = _NTSTATUS.get(status)
        return f"0x{status:08X}" + (f" ({meaning})" if meaning else "")
    number = _signal_number(returncode, platform)
    if number is None:
        return f"exit code {returncode}"
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


def is_illegal_instruction(returncode: int, platform: str) -> bool:
    """Whether the program used a processor instruction that this machine lacks."""
    if platform == "win32":
        return returncode & 0xFFFFFFFF == _NTSTATUS_ILLEGAL_INSTRUCTION
    return _signal_number(returncode, platform) == _SIGILL


def is_missing_library(returncode: int, platform: str) -> bool:
    """Whether Windows' loader did not find what the program needs; other loaders say so in words."""
    return platform == "win32" and returncode & 0xFFFFFFFF in _NTSTATUS_LIBRARY


def is_out_of_memory(returncode: int, platform: str) -> bool:
    """Whether Windows had no memory for the program; other systems kill it, or it says so in words."""
    return platform == "win32" and returncode & 0xFFFFFFFF == _NTSTATUS_NO_MEMORY


def is_killed(returncode: int, platform: str) -> bool:
    """Whether SIGKILL ended it: if we did not send it, the system did, nearly always for want of memory."""
    return _signal_number(returncode, platform) == _SIGKILL
