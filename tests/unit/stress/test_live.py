"""Counts of a run that is going on."""

from llama_runner.stress.live import LiveCounts
from llama_runner.stress.records import Outcome, Progress
from tests.unit.stress.values import a_record


def test_messages_of_several_workers_add_up() -> None:
    counts = LiveCounts(total=20)
    counts.add(Progress(worker=0, begun=5, in_flight=2, ended=tuple(a_record(i) for i in range(3))))
    counts.add(Progress(worker=1, begun=4, in_flight=1, ended=tuple(a_record(i) for i in range(3, 6))))
    counts.add(Progress(0, 6, 2, (a_record(6, outcome=Outcome.FAILED, error_kind="server", tokens=0),)))
    snapshot = counts.snapshot("running", 2.0)
    assert (snapshot.total, snapshot.sent, snapshot.ok, snapshot.failed, snapshot.aborted) == (
        20,
        10,
        6,
        1,
        0,
    )
    assert (snapshot.in_flight, snapshot.output_tokens, snapshot.output_tps) == (3, 60, 30.0)
    assert snapshot.ttft_p50_s == 0.2
    assert counts.lost == 3


def test_before_anything_ended_rates_and_medians_are_unknown() -> None:
    snapshot = LiveCounts(total=20).snapshot("starting", 0.0)
    assert (snapshot.sent, snapshot.output_tps, snapshot.ttft_p50_s) == (0, None, None)


def test_a_median_is_shown_from_six_requests_on() -> None:
    counts = LiveCounts(total=20)
    counts.add(Progress(0, 5, 0, tuple(a_record(i) for i in range(5))))
    assert counts.snapshot("running", 1.0).ttft_p50_s is None
    counts.add(Progress(0, 6, 0, (a_record(5),)))
    assert counts.snapshot("running", 1.0).ttft_p50_s is not None
