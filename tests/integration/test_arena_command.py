"""`arena compare` on the command line."""

import asyncio
import io
from pathlib import Path

from llama_runner.cli.app import run
from tests.fakes.metronome import Metronome
from tests.fakes.metronome_plan import Plan
from tests.integration.program import Done


async def command(*arguments: str) -> Done:
    out, err = io.StringIO(), io.StringIO()
    code = await asyncio.to_thread(run, ("arena", "compare", *arguments), stdout=out, stderr=err)
    return Done(code, out.getvalue(), err.getvalue())


def entry(metronome: Metronome, plan: Plan) -> tuple[str, str]:
    return "--entry", f"{metronome.url}#{plan.model_id()}"


async def test_three_entries_where_one_fails_are_all_reported(home: Path, metronome: Metronome) -> None:
    done = await command(
        "Why?",
        *entry(metronome, Plan(tokens=6, gap_ms=10)),
        *entry(metronome, Plan(tokens=6, gap_ms=10, error_at=2)),
        *entry(metronome, Plan(tokens=8, gap_ms=10)),
        "--json",
    )

    assert done.code == 0
    entries = done.json()["entries"]
    assert [e["state"] for e in entries] == ["done", "error", "done"]
    assert [e["text"].count("w") for e in entries] == [6, 2, 8]
    assert entries[1]["error"]["message"]
    assert entries[0]["error"] is None
    assert entries[0]["metrics"]["output_tokens"] == 6
    assert entries[0]["server"] == metronome.url


async def test_answers_are_printed_one_below_the_other_with_their_figures(
    home: Path, metronome: Metronome
) -> None:
    done = await command(
        "Why?",
        *entry(metronome, Plan(tokens=5, gap_ms=10)),
        *entry(metronome, Plan(tokens=5, gap_ms=10, cut_at=2)),
    )

    assert done.code == 0
    assert "w1 w2 w3 w4 w5" in done.stdout
    assert "[truncated]" in done.stdout
    assert "5 tokens" in done.stdout


async def test_when_every_entry_fails_the_exit_code_says_so(home: Path, metronome: Metronome) -> None:
    done = await command(
        "Why?",
        *entry(metronome, Plan(status=500, id="a")),
        *entry(metronome, Plan(status=500, id="b")),
        "--json",
    )

    assert done.code == 1
    assert [e["state"] for e in done.json()["entries"]] == ["error", "error"]


async def test_one_entry_is_no_comparison(home: Path, metronome: Metronome) -> None:
    done = await command("Why?", *entry(metronome, Plan()), "--json")

    assert done.code == 2


async def test_the_same_model_twice_is_refused(home: Path, metronome: Metronome) -> None:
    done = await command("Why?", *entry(metronome, Plan()), *entry(metronome, Plan()), "--json")

    assert done.code == 2
    assert "twice" in done.json()["error"]["message"]
