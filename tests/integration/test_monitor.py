"""`monitor` as a person or a script runs it, in a process of its own."""

import csv
import json
import signal
import sys
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from llama_runner.core.errors import ExitCode
from tests.integration.test_stress_cli import end_of, run, start


async def test_once_gives_one_document_with_the_agreed_names_and_plausible_values(home: Path) -> None:
    code, stdout, _ = await run("monitor", "--once", "--json")
    sample = json.loads(stdout)
    assert code == ExitCode.DONE
    assert datetime.fromisoformat(sample["time"]).utcoffset() is not None
    assert 0 <= sample["cpu_pct"] <= 100
    assert len(sample["cpu_per_core_pct"]) == psutil.cpu_count()
    memory = psutil.virtual_memory()
    assert sample["ram_total_bytes"] == memory.total
    used_bytes = memory.total - memory.available
    assert sample["ram_used_bytes"] == pytest.approx(used_bytes, abs=memory.total * 0.1)
    assert {"disk_read_bps", "disk_write_bps", "net_recv_bps", "net_sent_bps", "gpus"} <= sample.keys()


async def test_seconds_gives_json_lines_and_ends_by_itself(home: Path) -> None:
    code, stdout, _ = await run("monitor", "--seconds", "1.5", "--interval", "0.2", "--json")
    samples = [json.loads(line) for line in stdout.splitlines()]
    assert code == ExitCode.DONE
    assert 4 <= len(samples) <= 8
    times = [datetime.fromisoformat(sample["time"]) for sample in samples]
    assert times == sorted(set(times))


async def test_csv_has_a_header_and_a_row_per_sample_with_empty_fields_for_unknown(
    home: Path, tmp_path: Path
) -> None:
    file = tmp_path / "table.csv"
    code, stdout, _ = await run("monitor", "--once", "--csv", str(file))
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert code == ExitCode.DONE and "CPU" in stdout
    assert len(rows) == 1
    assert float(rows[0]["cpu_pct"]) >= 0 and int(rows[0]["ram_total_bytes"]) > 0
    assert "cpu_core_0_pct" in rows[0]


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
async def test_ctrl_c_ends_it_at_once_with_exit_code_130(home: Path) -> None:
    process = await start("monitor", "--interval", "0.2", "--json")
    assert process.stdout is not None
    await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    code, _, stderr = await end_of(process)
    assert code == ExitCode.INTERRUPTED and "Traceback" not in stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--interval", "0"), "--interval"),
        (("--interval", "nan"), "--interval"),
        (("--seconds", "-1"), "--seconds"),
        (("--once", "--seconds", "5"), "exclude"),
    ],
)
async def test_impossible_options_are_usage_errors(
    home: Path, arguments: tuple[str, ...], words: str
) -> None:
    code, stdout, _ = await run("monitor", *arguments, "--json")
    assert code == ExitCode.USAGE and words in json.loads(stdout)["error"]["message"]


async def test_a_csv_file_that_cannot_be_written_is_said_plainly(home: Path, tmp_path: Path) -> None:
    code, _, stderr = await run("monitor", "--once", "--csv", str(tmp_path / "none" / "x.csv"))
    assert code == ExitCode.FAILED and "cannot be written" in stderr and "--csv" in stderr
