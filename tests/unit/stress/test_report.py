"""Badges with their reasons, and the document that is saved."""

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from llama_runner.core.errors import StorageError
from llama_runner.core.metrics import METRICS
from llama_runner.core.paths import home_at
from llama_runner.stress.health import ClientStatus
from llama_runner.stress.level import LevelResult, summarise_level
from llama_runner.stress.pool import LoadWorkerError
from llama_runner.stress.records import Outcome
from llama_runner.stress.report import Badge, StressReport, Verdict, judge, record_json, to_json
from llama_runner.stress.store import new_run_dir, save_run
from tests.unit.stress.values import FINE, a_plan, a_record

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def long_level(**changes: object) -> LevelResult:
    """Enough requests over a long enough time to leave nothing to remark."""
    level = summarise_level(4, [a_record(i, send_ms=100 * i) for i in range(400)])
    return replace(level, **changes)  # type: ignore[arg-type]


def a_report(**changes: object) -> StressReport:
    """A finished run."""
    level = long_level()
    report = StressReport(
        plan=a_plan(),
        seed=7,
        started_utc=NOW,
        ended_utc=NOW,
        verdict=Verdict.COMPLETED,
        client=FINE,
        levels=(level,),
        badge=Badge.VALID,
        badge_reasons=(),
    )
    return replace(report, **changes)  # type: ignore[arg-type]


def test_a_long_clean_run_is_valid() -> None:
    assert judge(long_level(), FINE, Verdict.COMPLETED) == (Badge.VALID, ())
    badge, reasons = judge(long_level(), FINE, Verdict.COMPLETED, ("ignore_eos",))
    assert (badge, reasons) == (Badge.NOTES, ("This kind of server was not told: ignore_eos.",))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tokens_source": {"chunks": 400}}, "counts no tokens"),
        ({"cache_hit": 0.02}, "cache"),
        ({"tokens_per_event": 2.0}, "2.0 tokens"),
        ({"window_s": 29.0}, "30 s"),
    ],
)
def test_what_needs_a_note_is_noted(changes: dict[str, object], words: str) -> None:
    badge, reasons = judge(long_level(**changes), FINE, Verdict.COMPLETED)
    assert badge is Badge.NOTES and len(reasons) == 1 and words in reasons[0]


def test_a_short_run_names_the_percentiles_it_cannot_support() -> None:
    level = summarise_level(4, [a_record(i) for i in range(8)])
    badge, reasons = judge(level, FINE, Verdict.COMPLETED)
    assert badge is Badge.NOTES and "too few for p95, p99" in reasons[-1]


def test_a_stopped_run_and_a_suspect_client_are_notes() -> None:
    suspect = replace(FINE, status=ClientStatus.SUSPECT, reason="It was late.")
    badge, reasons = judge(long_level(), suspect, Verdict.STOPPED)
    assert badge is Badge.NOTES and reasons == ("The run was stopped early.", "It was late.")


def test_mixed_token_sources_a_limited_client_many_errors_or_a_broken_run_cannot_be_compared() -> None:
    limited = replace(FINE, status=ClientStatus.LIMITED, reason="It was very late.")
    for level, client, verdict in (
        (long_level(tokens_source={"chunks": 1, "usage": 399}), FINE, Verdict.COMPLETED),
        (long_level(), limited, Verdict.COMPLETED),
        (long_level(error_rate=0.02), FINE, Verdict.COMPLETED),
        (long_level(), FINE, Verdict.FAILED),
        (summarise_level(1, []), FINE, Verdict.STOPPED),
    ):
        badge, reasons = judge(level, client, verdict)
        assert badge is Badge.NOT_COMPARABLE and reasons


def test_a_few_errors_are_a_note() -> None:
    failed = a_record(400, outcome=Outcome.FAILED, error_kind="server", tokens=0)
    level = summarise_level(4, [*(a_record(i, send_ms=100 * i) for i in range(400)), failed])
    assert judge(level, FINE, Verdict.COMPLETED) == (Badge.NOTES, ("1 requests failed.",))


def test_the_document_has_its_agreed_names_and_never_the_key() -> None:
    error = LoadWorkerError("It died.", "Run it again.")
    text = json.dumps(to_json(a_report(error=error)), allow_nan=False)
    document = json.loads(text)
    assert {"run_dir", "verdict", "client", "levels", "badge"} <= document.keys()
    assert {"status", "reason"} <= document["client"].keys()
    level = document["levels"][0]
    assert {"concurrency", "requests", "ttft_s", "tpot_s", "e2e_s", "output_tps", "window_s"} <= level.keys()
    assert level["requests"].keys() == {"sent", "ok", "failed", "aborted", "dropped"}
    assert {"p50", "p95", "p99", "mean", "n"} <= level["ttft_s"].keys()
    assert document["error"] == {"kind": "load_worker", "message": "It died.", "hint": "Run it again."}
    assert document["plan"]["seed"] == 7
    assert "secret-key" not in text


def test_every_figure_of_a_level_that_is_a_metric_is_defined_in_the_document() -> None:
    definitions = to_json(a_report())["definitions"]
    assert isinstance(definitions, dict)
    assert definitions["ttft_s"]["formula"] == METRICS["ttft_s"].formula
    assert {"output_tps", "tpot_s", "decode_tps", "e2e_s", "window_s"} <= definitions.keys()


def test_a_run_is_saved_whole_and_private(tmp_path: Path) -> None:
    folder = new_run_dir(home_at(tmp_path), NOW)
    records = [a_record(1, send_ms=50), a_record(0)]
    save_run(folder, to_json(a_report(run_dir=folder)), records)
    assert json.loads((folder / "run.json").read_text())["run_dir"] == str(folder)
    lines = [json.loads(line) for line in (folder / "requests.jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines] == [0, 1]
    assert lines[1]["send_s"] == pytest.approx(0.05)
    assert lines[0]["ttft_s"] == pytest.approx(0.2)
    assert folder.parent == tmp_path / "data" / "runs"
    if sys.platform != "win32":
        assert {path.stat().st_mode & 0o777 for path in (folder, folder.parent)} == {0o700}
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_two_runs_of_the_same_second_have_folders_of_their_own(tmp_path: Path) -> None:
    assert len({new_run_dir(home_at(tmp_path), NOW) for _ in range(5)}) == 5


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be created"):
        new_run_dir(home_at(tmp_path), NOW)


def test_a_request_that_was_never_sent_has_no_send_time() -> None:
    record = replace(a_record(), t_send_ns=None)
    assert record_json(record, 0)["send_s"] is None
