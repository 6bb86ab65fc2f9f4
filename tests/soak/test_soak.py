"""A small share of what `python -m tests.soak` and `python -m tests.soak.kills` do for twenty minutes."""

import sys
from pathlib import Path

import pytest

from tests.soak.kills import kills
from tests.soak.soak import Report, Rest, soak

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and descriptors as POSIX has them")


def test_after_load_and_crashes_nothing_is_left(tmp_path: Path, engine: Path, demo_model: Path) -> None:
    """F1, F14: every request has an end, in words where it failed; at rest no child and no task is left."""
    report = soak(tmp_path, engine, demo_model, seconds=2, seed=7, clients=4, round_s=2.0)
    assert not report.hung
    assert not [outcome for outcome in report.outcomes if "cut without a word" in outcome]
    assert report.outcomes["chat: whole"] + report.outcomes["stream: whole"] > 0
    assert len(report.rests) >= 1
    assert {rest.children for rest in report.rests} == {0}
    # What idle connections and the listeners need; every request and model would add to it.
    assert {rest.tasks < 15 for rest in report.rests} == {True}


def test_f9_a_kill_at_a_random_moment_leaves_no_orphan(
    tmp_path: Path, engine: Path, demo_model: Path
) -> None:
    seen = kills(tmp_path, engine, demo_model, count=1, seed=3)
    assert seen.with_children == 1
    assert seen.orphans == 0
    assert len(seen.answered_s) == 2


def test_a_leak_is_a_slope() -> None:
    """The measure itself: one descriptor more at each rest of six seconds."""
    report = Report(seed=0)
    report.rests += [Rest(6.0 * n, 10**8, 6, 20 + n, 8, 0) for n in range(12)]
    assert report.slope_per_minute("descriptors") == pytest.approx(10)
    assert report.slope_per_minute("tasks") == pytest.approx(0)
    assert report.document()["at_rest"]["descriptors"]["max"] == 31
