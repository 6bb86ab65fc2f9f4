"""`stress` as a person or a script runs it, in a process of its own."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from llama_runner.core.errors import ExitCode
from llama_runner.net.ports import pick_free_port
from tests.fakes.metronome import Metronome
from tests.fakes.metronome_plan import Plan
from tests.integration.test_stress_runs import wait_until_in_flight


async def start(*arguments: str) -> asyncio.subprocess.Process:
    """The program with `arguments`."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llama_runner", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the program."""
    return await end_of(await start(*arguments))


async def end_of(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    """The same of a program that was started."""
    async with asyncio.timeout(50):
        stdout, stderr = await process.communicate()
    assert process.returncode is not None
    return process.returncode, stdout.decode(), stderr.decode()


def stress(metronome: Metronome, plan: Plan, *more: str) -> tuple[str, ...]:
    """Arguments of a run against the metronome."""
    return ("stress", "throughput", "--server", metronome.url, "--model", plan.model_id(), *more)


async def test_json_is_one_document_with_the_agreed_names(home: Path, metronome: Metronome) -> None:
    plan = Plan(prefill_ms=50, tokens=20, gap_ms=5)
    code, stdout, _ = await run(
        *stress(metronome, plan, "--concurrency", "4", "--requests", "8", "--max-tokens", "12", "--json")
    )
    document: dict[str, Any] = json.loads(stdout)
    assert code == ExitCode.DONE
    level = document["levels"][0]
    assert level["concurrency"] == 4
    assert level["requests"] == {"sent": 8, "ok": 8, "failed": 0, "aborted": 0, "dropped": 0}
    assert level["output_tokens"] == 8 * 12
    assert level["ttft_s"]["n"] == 8 and level["ttft_s"]["p95"] is None
    assert document["client"]["status"] in ("OK", "SUSPECT", "CLIENT-LIMITED")
    assert document["verdict"] == "completed" and document["badge"] and document["badge_reasons"]
    assert json.loads((Path(document["run_dir"]) / "run.json").read_text("utf-8")) == document
    assert Path(document["run_dir"]).is_relative_to(home)


async def test_text_is_for_people_and_burst_is_the_same_command(home: Path, metronome: Metronome) -> None:
    arguments = stress(metronome, Plan(tokens=5), "--concurrency", "2", "--requests", "6")
    code, stdout, stderr = await run("stress", "burst", *arguments[2:])
    assert code == ExitCode.DONE and stderr == ""
    assert "6 of 6 requests ok, 0 failed, 2 at a time" in stdout
    assert "time to first token" in stdout and "–" in stdout


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
async def test_ctrl_c_keeps_what_there_is_and_prints_it_with_exit_code_130(
    home: Path, metronome: Metronome
) -> None:
    plan = Plan(tokens=100_000, gap_ms=20)
    process = await start(
        *stress(
            metronome, plan, "--concurrency", "3", "--requests", "100", "--max-tokens", "100000", "--json"
        )
    )
    await asyncio.to_thread(wait_until_in_flight, metronome, 3)
    process.send_signal(signal.SIGINT)
    code, stdout, stderr = await end_of(process)
    document: dict[str, Any] = json.loads(stdout)
    assert code == ExitCode.INTERRUPTED and "Traceback" not in stderr
    assert document["verdict"] == "stopped"
    assert document["levels"][0]["requests"] == {"sent": 3, "ok": 0, "failed": 0, "aborted": 3, "dropped": 0}


@pytest.mark.skipif(os.name == "nt", reason="needs a terminal's process group")
async def test_ctrl_c_of_a_terminal_that_reaches_the_workers_too_does_the_same(
    home: Path, metronome: Metronome
) -> None:
    plan = Plan(tokens=100_000, gap_ms=20)
    arguments = stress(metronome, plan, "--concurrency", "2", "--requests", "9", "--max-tokens", "100000")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llama_runner", *arguments, "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    await asyncio.to_thread(wait_until_in_flight, metronome, 2)
    os.killpg(process.pid, signal.SIGINT)
    code, stdout, stderr = await end_of(process)
    assert code == ExitCode.INTERRUPTED and "Traceback" not in stderr
    assert json.loads(stdout)["levels"][0]["requests"]["aborted"] == 2


async def test_f2_an_unreachable_server_is_one_sentence_and_exit_code_3(home: Path) -> None:
    url = f"http://127.0.0.1:{pick_free_port()}"
    code, stdout, stderr = await run("stress", "burst", "--server", url, "--model", "m")
    assert code == ExitCode.UNREACHABLE and stdout == ""
    assert "listens" in stderr and "Traceback" not in stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--server", "http://127.0.0.1:1", "--model", "m", "--concurrency", "1000000"), "not possible"),
        (("--server", "http://127.0.0.1:1", "--model", "m", "--concurrency", "100"), "consent"),
        (("--server", "http://10.9.8.7:1", "--model", "m"), "not this machine"),
    ],
)
async def test_u18_what_needs_a_yes_or_cannot_be_is_a_usage_error(
    home: Path, arguments: tuple[str, ...], words: str
) -> None:
    code, stdout, _ = await run("stress", "burst", *arguments, "--json")
    error = json.loads(stdout)["error"]
    assert code == ExitCode.USAGE and error["kind"] == "usage" and words in error["message"]


async def test_a_run_without_one_success_has_failed(home: Path, metronome: Metronome) -> None:
    plan = Plan(status=500)
    code, stdout, _ = await run(*stress(metronome, plan, "--concurrency", "2", "--requests", "4", "--json"))
    document: dict[str, Any] = json.loads(stdout)
    assert code == ExitCode.FAILED
    assert document["badge"] == "NOT COMPARABLE" and document["levels"][0]["errors"] == {"server": 4}
