"""NVIDIA readings against a small driver library of our own, compiled here and loaded by a fresh process.

A process of its own per case: the driver library can be loaded only once.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llama_runner.telemetry.nvidia import NvidiaSampler, throttle_names

SOURCE = Path(__file__).with_name("fake_nvml.c")
COMPILER = shutil.which("cc") or shutil.which("gcc")
GIB = 1024**3

needs_compiler = pytest.mark.skipif(
    COMPILER is None or sys.platform == "win32", reason="needs a C compiler to build the stand-in driver"
)

READ = """
import json
from dataclasses import asdict
from llama_runner.telemetry.nvidia import NvidiaSampler
sampler = NvidiaSampler()
first, second = sampler.read(), sampler.read()
note = sampler.note
sampler.close()
sampler.close()
print(json.dumps({"note": note, "cards": [asdict(card) for card in second], "steady": first == second}))
"""


def build(folder: Path, *flags: str) -> Path:
    assert COMPILER is not None
    library = folder / "libnvidia-ml.so.1"
    subprocess.run([COMPILER, "-shared", "-fPIC", *flags, "-o", library, SOURCE], check=True, timeout=60)
    return folder


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture(scope="module")
def old_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml_old"), "-DOLD_DRIVER")


def read_with(folder: Path, **env: str) -> dict[str, Any]:
    result = subprocess.run(
        [sys.executable, "-c", READ],
        env={**os.environ, "LD_LIBRARY_PATH": str(folder), **env},
        capture_output=True,
        check=True,
        timeout=60,
        text=True,
    )
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


@needs_compiler
def test_every_figure_of_a_card_arrives_with_its_unit(driver: Path) -> None:
    answer = read_with(driver)
    assert answer["note"] is None and answer["steady"]
    assert answer["cards"][0] == {
        "id": "GPU-fake-0",
        "name": "Fake RTX 9090",
        "util_pct": 87,
        "memory_util_pct": 45,
        "vram_used_bytes": 9 * GIB,
        "vram_total_bytes": 24 * GIB,
        "power_w": 215.5,
        "power_limit_w": 450.0,
        "temperature_c": 62,
        "fan_pct": None,  # the stand-in lacks the function altogether
        "clock_mhz": 2520,
        "memory_clock_mhz": 10501,
        "throttle_reasons": ["power cap", "thermal, driver"],
    }


@needs_compiler
def test_what_a_card_does_not_support_is_unknown_and_a_measured_zero_stays_zero(driver: Path) -> None:
    card = read_with(driver)["cards"][1]
    assert card["id"] == "1" and card["name"] == "NVIDIA GPU 1"  # its name is not UTF-8
    assert card["util_pct"] is None and card["power_w"] is None
    assert card["temperature_c"] == 0


@needs_compiler
def test_what_each_program_holds_of_a_card_is_told_where_the_driver_knows(driver: Path) -> None:
    script = "from llama_runner.service.gpu import NvmlCards; cards = NvmlCards(); cards.read(); "
    script += "print([(c.total_bytes >> 30, c.free_bytes >> 30, dict(c.used_by)) for c in cards.read()])"
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "LD_LIBRARY_PATH": str(driver)},
        capture_output=True,
        check=True,
        timeout=60,
        text=True,
    )
    assert result.stdout.strip() == f"[(24, 14, {{4711: {3 * GIB}}}), (24, 14, {{}})]"


@needs_compiler
def test_an_old_driver_is_asked_by_its_old_functions(old_driver: Path) -> None:
    card = read_with(old_driver)["cards"][0]
    assert (card["vram_used_bytes"], card["temperature_c"], card["throttle_reasons"]) == (10 * GIB, 61, [])


@needs_compiler
def test_a_lost_card_does_not_hide_the_others(driver: Path) -> None:
    answer = read_with(driver, FAKE_NVML_LOST="1")
    assert [card["name"] for card in answer["cards"]] == ["Fake RTX 9090"]


@needs_compiler
@pytest.mark.parametrize(("code", "words"), [("9", "not loaded"), ("4", "gives no readings")])
def test_a_driver_that_does_not_start_is_a_note_and_no_cards(driver: Path, code: str, words: str) -> None:
    answer = read_with(driver, FAKE_NVML_FAIL=code)
    assert answer["cards"] == [] and words in answer["note"]


@needs_compiler
def test_monitor_shows_the_cards(driver: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "llama_runner", "monitor", "--once", "--json", "--home", str(tmp_path)],
        env={**os.environ, "LD_LIBRARY_PATH": str(driver)},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert [card["vram_used_bytes"] for card in json.loads(result.stdout)["gpus"]] == [9 * GIB, 9 * GIB]


def test_without_a_driver_there_are_no_cards_and_a_note_says_so() -> None:
    sampler = NvidiaSampler()
    cards = sampler.read()
    sampler.close()
    assert bool(cards) == (sampler.note is None)


def test_being_idle_is_no_reason_for_throttling() -> None:
    assert throttle_names(0x1) == ()
    assert throttle_names(0x1 | 0x40) == ("thermal, hardware",)
