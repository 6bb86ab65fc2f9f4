"""What the models tab says of models, plans and requests, without a service."""

from dataclasses import replace

import pytest

from llama_runner.control.values import Instance, Plan, PlannedModel, ProxiedRequest, ServedModel
from llama_runner.ui.tabs.models_plan import plan_words
from llama_runner.ui.tabs.models_requests import outcome_text
from llama_runner.ui.tabs.models_rows import ModelLine, leaves_text, search_text, state_text, whole_seconds

GIB = 1024**3
PLAN = Plan("m", GIB, False, 2 * GIB, None, True, False, (), ())
IDLE = PlannedModel("i1", "old", GIB, 0, 9 * 60.0, False)
FILE = ServedModel("m", "/models/m.gguf", "models folder", architecture="llama")
READY = Instance("i1", "m", "ready", idle_s=3.2, in_flight=0, unload_in_s=591.4)


def test_a_plan_says_whether_its_need_was_estimated_or_measured() -> None:
    assert plan_words(PLAN) == "Needs about 1.00 GiB of memory (estimated from its file); 2.00 GiB are free."
    measured = plan_words(replace(PLAN, measured=True, load_s=12.3))
    assert "Needs 1.00 GiB of memory (measured when it was loaded before)" in measured
    assert measured.endswith("Ready in about 12.3 s.")


def test_a_plan_says_who_leaves_and_who_stays_and_why() -> None:
    works = replace(IDLE, model="busy", in_flight=2, idle_s=None)
    words = plan_words(replace(PLAN, evict=(IDLE, works), keep=(replace(IDLE, model="mine", pinned=True),)))
    assert "old leaves: idle for 9 min 00 s." in words
    assert "busy leaves: 2 requests in work, which it finishes." in words
    assert "mine stays: pinned." in words


def test_many_that_stay_are_counted_and_long_names_are_cut() -> None:
    """U14: a name of another's choice stays in one line, its controls visible."""
    many = tuple(replace(IDLE, id=f"i{n}", model=f"x{n}") for n in range(7))
    assert plan_words(replace(PLAN, keep=many)).endswith("4 more stay.")
    words = plan_words(replace(PLAN, evict=(replace(IDLE, model="a\n" + "b" * 500),)))
    assert "\n" not in words
    assert len(words) < 250


@pytest.mark.parametrize(
    ("keep", "advice"), [((), "something else ends"), ((replace(IDLE, pinned=True),), "unpinned or unloaded")]
)
def test_a_plan_without_room_says_what_would_help(keep: tuple[PlannedModel, ...], advice: str) -> None:
    words = plan_words(replace(PLAN, fits=False, free_bytes=-5, load_s=3.0, keep=keep))
    assert advice in words
    assert "0 B are free" in words
    assert "Ready in" not in words


def test_a_loaded_model_needs_no_plan() -> None:
    assert plan_words(replace(PLAN, loaded=True, evict=(IDLE,))) == "It is loaded already."


def test_when_a_model_leaves_is_told_only_of_what_serves() -> None:
    assert leaves_text(ModelLine(FILE, READY)) == "9 min 51 s"
    assert leaves_text(ModelLine(FILE, replace(READY, pinned=True))) == "pinned"
    assert leaves_text(ModelLine(FILE, replace(READY, unload_in_s=None))) == "–"
    assert leaves_text(ModelLine(FILE, replace(READY, state="starting"))) == "–"
    assert leaves_text(ModelLine(FILE, None)) == "–"


def test_short_times_do_not_flicker() -> None:
    assert [whole_seconds(s) for s in (None, 0.000673, 3.2, 59.4, 61.0)] == [
        "–",
        "0 s",
        "3 s",
        "59 s",
        "1 min 01 s",
    ]


def test_a_filter_finds_what_has_no_column() -> None:
    assert {"llama", "models", "folder"} <= set(search_text(ModelLine(FILE, None)).split())
    assert state_text(ModelLine(FILE, READY)) in search_text(ModelLine(FILE, READY))


def test_outcomes_are_words_with_the_status_where_it_failed() -> None:
    one = ProxiedRequest(
        1, "/v1/x", "m", "2026-01-01T00:00:00+00:00", False, 200, "done", *(None,) * 6, 0, None
    )
    assert outcome_text(one) == "● done"
    assert outcome_text(replace(one, outcome="refused", status=503)) == "✕ refused (503)"
    assert outcome_text(replace(one, outcome="something new")) == "something new"
