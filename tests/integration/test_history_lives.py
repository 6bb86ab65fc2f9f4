"""Kept conversations when the program that keeps them is killed."""

from pathlib import Path

from tests.integration.history_kills import kill_writers


def test_what_was_said_to_be_kept_survives_kills(tmp_path: Path) -> None:
    """Safety 5: `python -m tests.integration.history_kills` does two hundred."""
    outcome = kill_writers(tmp_path, 6, seed=3)

    assert (outcome.lost, outcome.notes) == (0, ())
    assert outcome.kept >= outcome.kills
