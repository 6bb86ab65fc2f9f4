"""Why a child ended, from its exit code and its last words, with advice. Pure."""

import errno
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from llama_runner.core.text import visible_controls
from llama_runner.runtime.states import Trouble
from llama_runner.system.processes import (
    describe_exit,
    is_illegal_instruction,
    is_killed,
    is_missing_library,
    is_out_of_memory,
)

# Enough of an engine's line to recognise the cause; the whole line is in the log.
_QUOTE_CHARS: Final = 300
# llama.cpp's stamp and level before each line: "0.00.004.437 E ".
_LOG_PREFIX: Final = re.compile(r"^[\d.]+ ([DIWE]) ")


class Cause(StrEnum):
    """What went wrong, as far as anything is done about it."""

    PORT = "port"
    MEMORY = "memory"
    GPU_MEMORY = "gpu memory"
    INSTRUCTION = "instruction"
    MODEL = "model"
    OPTION = "option"
    LIBRARY = "library"
    GPU_LOST = "gpu lost"
    KILLED = "killed"
    STALLED = "stalled"
    HUNG = "hung"
    PROGRAM = "program"
    SCARCE = "scarce"
    MUTE = "mute"
    CRASH = "crash"


@dataclass(frozen=True, slots=True)
class Failure:
    """A child that is no longer what it should be.

    Attributes:
        message: One sentence: what happened.
        advice: One sentence: what to do.
    """

    cause: Cause
    message: str
    advice: str


# In this order: a child that runs out of memory also says that it could not load its model.
_SIGNS: Final[tuple[tuple[Cause, tuple[str, ...]], ...]] = (
    (
        Cause.PORT,
        ("couldn't bind http server socket", "address already in use", "exiting due to http server error"),
    ),
    (
        Cause.GPU_LOST,
        (
            "device lost",
            "cuda error: unspecified launch failure",
            "cuda error: an illegal memory access",
            "no cuda-capable device",
            "vk_error_device_lost",
            "hip error: device",
        ),
    ),
    (
        Cause.MEMORY,
        (
            "out of memory",
            "out of device memory",
            "cudamalloc failed",
            "hipmalloc failed",
            "failed to allocate",
            "allocation failed",
            "not enough memory",
            "insufficient memory",
            "vk_error_out_of_device_memory",
            "erroroutofmemory",
            "erroroutofdevicememory",
            "unable to allocate",
            "std::bad_alloc",
        ),
    ),
    (
        Cause.LIBRARY,
        ("error while loading shared libraries", "cannot open shared object file", "symbol lookup error"),
    ),
    (
        Cause.OPTION,
        (
            "error: invalid argument",
            "the argument has been removed",
            "error while handling argument",
            "requires flash_attn",
            "failed to apply lora adapter",
            "failed to load clip model",
            "failed to load multimodal model",
            "failed to load draft model",
        ),
    ),
    (
        Cause.MODEL,
        (
            "invalid magic characters",
            "model is corrupted or incomplete",
            "unknown model architecture",
            "error loading model",
            "failed to load model",
            "exiting due to model loading error",
        ),
    ),
)
# Words of a line about memory that mean a graphics card's; "CUDA_Host" is main memory.
_CARD: Final = re.compile(
    r"cuda\d|cudamalloc|hipmalloc|rocm\d|vulkan|\bvk|device|metal|\bmtl\d|sycl\d", re.IGNORECASE
)
# F17, F18: no fault of the program that was to be started.
_SCARCE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM})
# The last of several errors; the first of them is the reason.
_SAYS_NOTHING: Final = "exiting due to model loading error"
# llama.cpp goes on after these.
_NOT_FATAL: Final = ("retrying without pipeline parallelism",)
_ERROR_MARKS: Final = (
    "error:",
    " e ",
    "cuda error",
    "rocm error",
    "failed",
    "couldn't",
    "ggml_assert",
    "panic:",
    "fatal error:",
    "terminate called",
    "what():",
    "error while",
)

_ADVICE: Final = {
    Cause.PORT: "Try again; if it happens again, look for a program that takes every free port.",
    Cause.MEMORY: "Load it with a smaller context length or fewer GPU layers, or unload another model first.",
    Cause.GPU_MEMORY: "Load it with fewer GPU layers or less context, or unload another model first.",
    Cause.INSTRUCTION: "Use a llama-server built for this processor (a generic CPU build).",
    Cause.MODEL: "Download the file again; if it is whole, this model needs a newer llama-server.",
    Cause.OPTION: "Change or leave out what it names; another version of llama-server may know it.",
    Cause.LIBRARY: "Reinstall llama-server with the libraries that belong beside it.",
    Cause.GPU_LOST: "Restart the computer or reload the GPU driver, or load with 0 GPU layers.",
    Cause.KILLED: "Free some memory or load it with a smaller context length, then load it again.",
    Cause.MUTE: "Load it again; if it ends again, the file may be damaged or need a newer llama-server.",
    Cause.CRASH: "See the model's log; load it again, or try another version of llama-server.",
}


def diagnose(returncode: int, lines: Sequence[str], *, platform: str, loading: bool) -> Failure:
    """What a child's end means.

    Args:
        lines: Its last output, oldest first.
        loading: It had not been ready yet.
    """
    how = describe_exit(returncode, platform)
    when = "while loading" if loading else "while running"
    if is_illegal_instruction(returncode, platform):
        return _failure(Cause.INSTRUCTION, f"llama-server used an instruction this processor lacks ({how})")
    # A signal from outside leaves no words; what stands in the log is older and about something else.
    if is_killed(returncode, platform):
        return _failure(
            Cause.KILLED, f"The system ended llama-server {when} ({how}), most likely for want of memory"
        )
    if is_missing_library(returncode, platform):
        return _failure(Cause.LIBRARY, f"{_WHAT[Cause.LIBRARY]} {when} ({how})")
    for cause, signs in _SIGNS:
        line = _last_with(lines, signs)
        if line is not None:
            if cause is Cause.MEMORY and _CARD.search(line):
                cause = Cause.GPU_MEMORY
            if _SAYS_NOTHING in line:
                line = next((one for one in lines if _level(one) == "E"), line)
            what = _WHAT[cause] if cause is Cause.MODEL else f"{_WHAT[cause]} {when}"
            return _failure(cause, f"{what} ({how}): {quote(line)}")
    said = _last_with(lines, _ERROR_MARKS) or next(
        (line for line in lines[-1:] if not _is_chatter(line)), None
    )
    if said:
        return _failure(Cause.CRASH, f"llama-server ended {when} ({how}): {quote(said)}")
    if is_out_of_memory(returncode, platform):
        return _failure(Cause.MEMORY, f"{_WHAT[Cause.MEMORY]} {when} ({how})")
    cause = Cause.MUTE if loading and returncode > 0 else Cause.CRASH
    return _failure(cause, f"llama-server ended {when} ({how}) without saying why")


_WHAT: Final = {
    Cause.PORT: "llama-server could not take its port",
    Cause.GPU_LOST: "llama-server lost the GPU",
    Cause.MEMORY: "llama-server ran out of memory",
    Cause.GPU_MEMORY: "llama-server ran out of memory on the graphics card",
    Cause.LIBRARY: "llama-server lacks a library",
    Cause.OPTION: "llama-server refused its options",
    Cause.MODEL: "llama-server could not load the model",
}


def _failure(cause: Cause, message: str) -> Failure:
    return Failure(cause, message.rstrip(".") + ".", _ADVICE[cause])


def _last_with(lines: Sequence[str], signs: Sequence[str]) -> str | None:
    """The first sign counts most, the last line that shows it."""
    lowered = [(line, line.lower()) for line in reversed(lines)]
    for sign in signs:
        for line, low in lowered:
            if sign in low and not any(harmless in low for harmless in _NOT_FATAL):
                return line
    return None


def _is_chatter(line: str) -> bool:
    """A line of the engine's log that tells what goes well: never the reason of an end."""
    return _level(line) in ("D", "I")


def _level(line: str) -> str | None:
    """How grave the engine means a line of its log to be, by its letter."""
    found = _LOG_PREFIX.match(line.strip())
    return found[1] if found else None


def quote(line: str) -> str:
    """An engine's line as part of a sentence."""
    return visible_controls(_LOG_PREFIX.sub("", line.strip()), _QUOTE_CHARS).rstrip(".")


def stalled(limit_s: float) -> Failure:
    """F3: neither ready nor any progress."""
    return Failure(
        Cause.STALLED,
        f"llama-server made no progress in loading for {limit_s:g} s.",
        "Try again; on a slow disk raise the loading stall limit in Settings (runtime.load_stall_s).",
    )


def hung(seconds: float) -> Failure:
    """F4: it runs but does not answer."""
    return Failure(
        Cause.HUNG,
        f"llama-server runs but has not answered for {seconds:.0f} s.",
        "See the model's log; load it again.",
    )


def stuck(seconds: float) -> Failure:
    """It answers, but a request in it gets nowhere."""
    return Failure(
        Cause.HUNG,
        f"llama-server had got nowhere with a request for {seconds:.0f} s.",
        "Ask again; if it happens with every such request, try another version of llama-server.",
    )


def fruitless(seconds: float, *, restarts: bool) -> Trouble:
    """It computes, and no request in it gets a token."""
    then = "it is restarted if it stays so" if restarts else "else unload it, or set runtime.restart_stuck_s"
    return Trouble(
        f"llama-server has computed for {seconds:.0f} s without a token for anybody.",
        f"Wait if a long prompt is read by a slow machine; {then}. Schemas with patterns can be the cause.",
    )


def closed() -> Failure:
    """It gave up its port and stays all the same."""
    return Failure(
        Cause.HUNG,
        "llama-server was asked to end by somebody else and did not get there.",
        "Unload it here, or load it again.",
    )


def stranger() -> Failure:
    """F11: somebody else answers on the port."""
    return Failure(
        Cause.PORT,
        "Another program answered on the port chosen for llama-server.",
        _ADVICE[Cause.PORT],
    )


def not_started(path: str, error: OSError) -> Failure:
    """The system refused to start it."""
    said = error.strerror or str(error)
    if error.errno in _SCARCE:
        return Failure(
            Cause.SCARCE,
            f"The system starts no more programs ({said}), so llama-server could not be started.",
            "Close other programs or unload models, then load it again.",
        )
    return Failure(
        Cause.PROGRAM,
        f"{path} cannot be started: {said}.",
        "Check that it is a llama-server for this system, or set another in Settings (runtime.engine_path).",
    )
