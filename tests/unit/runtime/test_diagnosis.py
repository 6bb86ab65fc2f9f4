import errno
import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_runner.runtime import diagnosis
from llama_runner.runtime.diagnosis import Cause, diagnose
from llama_runner.runtime.policy import Crash, restart_delay_s

S = 1_000_000_000


@pytest.mark.parametrize(
    ("returncode", "lines", "cause"),
    [
        (1, ["E srv start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 1"], Cause.PORT),
        (
            1,
            ["ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory"],
            Cause.GPU_MEMORY,
        ),
        (1, ["ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfDeviceMemory"], Cause.GPU_MEMORY),
        (1, ["E alloc_tensor_range: failed to allocate Vulkan0 buffer of size 5"], Cause.GPU_MEMORY),
        (1, ["E alloc_tensor_range: failed to allocate CUDA_Host buffer of size 5"], Cause.MEMORY),
        (1, ["ggml_aligned_malloc: insufficient memory (attempted to allocate 9 MB)"], Cause.MEMORY),
        (
            1,
            [
                "E failed to allocate CPU buffer",
                "E error loading model",
                "E exiting due to model loading error",
            ],
            Cause.MEMORY,
        ),
        (1, ["gguf_init_from_file: invalid magic characters: 'abcd'"], Cause.MODEL),
        (1, ["E unknown model architecture: 'foo'"], Cause.MODEL),
        (1, ["error: invalid argument: --no-mmap"], Cause.OPTION),
        (
            1,
            ["0.0.1 E llama_init_from_model: quantized V cache requires flash_attn to be enabled"],
            Cause.OPTION,
        ),
        (
            1,
            [
                "E llama_adapter_lora_init: failed to apply lora adapter: expect type 'adapter'",
                "E srv llama_server: exiting due to model loading error",
            ],
            Cause.OPTION,
        ),
        (127, ["llama-server: error while loading shared libraries: libggml.so: cannot open"], Cause.LIBRARY),
        (1, ["CUDA error: device lost"], Cause.GPU_LOST),
        (-4, [], Cause.INSTRUCTION),
        (-9, ["everything is fine"], Cause.KILLED),
        (-11, ["slot launch_slot_: id 0 | task 1 | processing task"], Cause.CRASH),
        (1, [], Cause.MUTE),
        (1, ["0.00.004.075 I srv    load_model: loading model"], Cause.MUTE),
        (1, ["0.00.004.075 I srv    load_model: loading model", "boom"], Cause.CRASH),
        (1, ["cudaMalloc failed: out of memory, retrying without pipeline parallelism"], Cause.CRASH),
    ],
)
def test_the_cause_is_read_from_code_and_last_words(returncode: int, lines: list[str], cause: Cause) -> None:
    found = diagnose(returncode, lines, platform="linux", loading=True)
    assert found.cause is cause
    assert found.message.endswith(".")
    assert "load" in found.message or cause is Cause.INSTRUCTION
    assert found.advice


def test_the_first_of_several_errors_is_the_reason() -> None:
    lines = [
        "0.00.01 I load: all is well",
        "0.00.02 E check: something is odd",
        "0.00.03 E srv  llama_server: exiting due to model loading error",
    ]
    assert diagnose(1, lines, platform="linux", loading=True).message.endswith(": check: something is odd.")


def test_the_stamp_of_a_log_line_is_not_quoted() -> None:
    line = "0.00.004.357 E llama_model_load: error loading model: key not found"
    found = diagnose(1, [line], platform="linux", loading=True)
    assert found.message == (
        "llama-server could not load the model (exit code 1): "
        "llama_model_load: error loading model: key not found."
    )


def test_the_engines_own_line_is_quoted_safely() -> None:
    found = diagnose(1, ["E error loading model: \u202e" + "x" * 1000], platform="linux", loading=True)
    assert "error loading model" in found.message
    assert "\u202e" not in found.message
    assert len(found.message) < 500


def test_windows_codes_are_named() -> None:
    found = diagnose(0xC0000135, [], platform="win32", loading=True)
    assert "a DLL is missing" in found.message
    assert diagnose(0xC000001D, [], platform="win32", loading=True).cause is Cause.INSTRUCTION


@pytest.mark.parametrize(
    ("returncode", "cause"),
    [
        (0xC0000135, Cause.LIBRARY),
        (0xC0000139, Cause.LIBRARY),
        (0xC0000142 - (1 << 32), Cause.LIBRARY),
        (0xC0000017, Cause.MEMORY),
        (0xC0000005, Cause.CRASH),
    ],
)
def test_what_windows_says_by_number_alone_has_its_cause(returncode: int, cause: Cause) -> None:
    found = diagnose(returncode, [], platform="win32", loading=False)
    assert found.cause is cause
    assert found.advice
    assert (
        diagnose(returncode, ["error: nothing of it"], platform="linux", loading=False).cause is Cause.CRASH
    )


def test_what_has_no_exit_code_is_explained_too() -> None:
    for failure in (
        diagnosis.stalled(300),
        diagnosis.hung(30),
        diagnosis.stuck(120),
        diagnosis.closed(),
        diagnosis.stranger(),
        diagnosis.not_started("/x", OSError(8, "Exec format error")),
    ):
        assert failure.message.endswith(".")
        assert failure.advice.endswith((".", ")."))


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM])
def test_f17_f18_a_system_that_starts_nothing_is_not_the_engines_fault(number: int) -> None:
    failure = diagnosis.not_started("/e/llama-server", OSError(number, os.strerror(number)))
    assert failure.cause is Cause.SCARCE
    assert "unload models" in failure.advice
    assert diagnosis.not_started("/e", OSError(errno.ENOEXEC, "x")).cause is Cause.PROGRAM


def _crashes(*times_s: float, cause: Cause = Cause.CRASH) -> list[Crash]:
    return [Crash(int(time_s * S), cause) for time_s in times_s]


def test_what_never_worked_is_not_tried_again() -> None:
    assert restart_delay_s(_crashes(0), was_ready=False, chance=0.5) is None


def test_f5_three_crashes_within_a_minute_are_a_loop() -> None:
    assert restart_delay_s(_crashes(0, 10), was_ready=True, chance=0.5) == 2.0
    assert restart_delay_s(_crashes(0, 10, 59), was_ready=True, chance=0.5) is None
    assert restart_delay_s(_crashes(0, 10, 61), was_ready=True, chance=0.5) == 4.0


def test_pauses_grow_and_are_forgotten() -> None:
    spaced = _crashes(*(100 * number for number in range(9)))
    delays = [restart_delay_s(spaced[: count + 1], was_ready=True, chance=0.5) for count in range(9)]
    assert delays == [1, 2, 4, 8, 16, 16, 16, 16, 16]
    assert restart_delay_s(_crashes(0, 100, 1000), was_ready=True, chance=0.5) == 1.0


@pytest.mark.parametrize("cause", [Cause.KILLED, Cause.GPU_LOST, Cause.LIBRARY])
def test_f14_f15_what_would_end_the_same_way_is_final(cause: Cause) -> None:
    assert restart_delay_s(_crashes(0, cause=cause), was_ready=True, chance=0.5) is None


@given(
    times=st.lists(st.integers(0, 2000), min_size=1, max_size=40),
    chance=st.floats(0, 1),
    cause=st.sampled_from(list(Cause)),
)
def test_a_pause_is_always_between_its_bounds(times: list[int], chance: float, cause: Cause) -> None:
    delay = restart_delay_s(_crashes(*sorted(times), cause=cause), was_ready=True, chance=chance)
    assert delay is None or 0.8 <= delay <= 19.2


def test_jitter_spreads_restarts() -> None:
    rng = random.Random(1)
    delays = {restart_delay_s(_crashes(0), was_ready=True, chance=rng.random()) for _ in range(10)}
    assert len(delays) == 10
