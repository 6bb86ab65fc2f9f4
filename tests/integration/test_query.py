"""`query` end to end: the real service, the real engine and model, and what is left of them: nothing."""

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from llama_runner.control.runfile import running_service
from llama_runner.core.paths import create_folders, home_at
from tests.fakes.metronome import Metronome, start_metronome
from tests.fakes.metronome_plan import Plan
from tests.integration.program import Done, adopting_orphans, finish, run, start

SHORT: Final = ("--max-tokens", "16", "--seed", "1", "--temperature", "0")
METRICS: Final = {
    "ttft_s",
    "ttfat_s",
    "e2e_s",
    "tpot_s",
    "decode_tps",
    "prompt_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "tokens_source",
}


@pytest.fixture(autouse=True)
def nothing_left(home: Path) -> Iterator[None]:
    """Every test here leaves no process behind, orphans included; the control port is any free one."""
    create_folders(home_at(home))
    (home / "config" / "app_config.json").write_text('{"version": 1, "service": {"control_port": 0}}')
    # Ours already and not the program's: the metronome of the session.
    before = set(psutil.Process().children(recursive=True))
    with adopting_orphans():
        yield
        after = set(psutil.Process().children(recursive=True)) - before
        _, alive = psutil.wait_procs(list(after), timeout=10)
        left = [" ".join(process.cmdline()) for process in alive]
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, timeout=5)
    assert left == []


def check_answer(done: Done) -> dict[str, Any]:
    """The document of a good answer."""
    assert done.code == 0, done.stderr
    answer: dict[str, Any] = done.json()
    assert set(answer) >= {
        "text",
        "reasoning",
        "server",
        "engine",
        "model",
        "finish_reason",
        "truncated",
        "metrics",
    }
    assert set(answer["metrics"]) >= METRICS
    assert answer["text"]
    assert answer["engine"] == "llama-server"
    assert answer["truncated"] is False
    metrics = answer["metrics"]
    assert 0 < metrics["ttft_s"] <= metrics["e2e_s"]
    assert metrics["output_tokens"] > 0
    assert metrics["prompt_tokens"] > 0
    assert metrics["tokens_source"] in ("usage", "chunk_usage")
    return answer


def test_the_demo_answers_with_figures_and_leaves_nothing(engine: Path, demo_model: Path, home: Path) -> None:
    done = run("--demo", "query", "Name three colours.", "--json", *SHORT)

    answer = check_answer(done)
    assert "SmolLM2" in answer["model"]
    assert answer["metrics"]["decode_tps"] > 0
    assert running_service(home_at(home)) is None


def test_two_at_once_on_one_home_both_answer(engine: Path, demo_model: Path) -> None:
    first = start("--demo", "query", "Name three colours.", "--json", *SHORT)
    second = start("--demo", "query", "Name three animals.", "--json", "--max-tokens", "48", "--seed", "2")

    check_answer(finish(first))
    check_answer(finish(second))


def test_one_that_joined_goes_on_when_the_one_that_started_the_service_ends(
    engine: Path, demo_model: Path, home: Path
) -> None:
    owner = start("--demo", "query", "Hi.", "--json", *SHORT)
    try:
        _until_service(home, owner)
        joined = start("--demo", "query", "Tell a story.", "--json", "--max-tokens", "150", "--seed", "3")
    finally:
        check_answer(finish(owner))

    check_answer(finish(joined))


def test_keep_serving_leaves_the_service_to_the_next_one(engine: Path, demo_model: Path, home: Path) -> None:
    check_answer(run("--demo", "query", "Hi.", "--json", "--keep-serving", *SHORT))
    kept = running_service(home_at(home))
    assert kept is not None

    check_answer(run("--demo", "query", "Hi.", "--json", *SHORT))
    still = running_service(home_at(home))
    assert still is not None
    assert still.pid == kept.pid

    assert run("serve", "--stop", "--json").json() == {"stopped": True, "pid": kept.pid}


def test_text_goes_to_stdout_and_the_figures_to_stderr(metronome: Metronome) -> None:
    done = run("query", "Hi.", "--server", metronome.url, "--model", Plan(tokens=5, gap_ms=5).model_id())

    assert (done.code, done.stdout) == (0, "w1 w2 w3 w4 w5 \n")
    assert "5 tokens" in done.stderr
    assert "first after" in done.stderr


def test_text_streams_as_it_comes(metronome: Metronome) -> None:
    process = start(
        "query", "Hi.", "--server", metronome.url, "--model", Plan(tokens=40, gap_ms=50).model_id()
    )
    assert process.stdout is not None
    first = process.stdout.read(3)
    assert process.poll() is None
    done = finish(process)

    assert first.decode() + done.stdout == "".join(f"w{n} " for n in range(1, 41)) + "\n"


def test_an_unreachable_server_is_exit_code_3() -> None:
    done = run("query", "Hi.", "--server", "http://127.0.0.1:1", "--json")

    assert done.code == 3
    assert done.json()["error"]["kind"] == "unreachable"
    assert done.json()["error"]["hint"]


def test_an_unreachable_server_in_words() -> None:
    done = run("query", "Hi.", "--server", "127.0.0.1:1")

    assert (done.code, done.stdout) == (3, "")
    assert "127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_that_wants_a_key_says_so_and_takes_one() -> None:
    guarded = start_metronome(api_key="right", engine="llama-server")
    try:
        refused = run("query", "Hi.", "--server", guarded.url, "--json")
        answered = run("query", "Hi.", "--server", guarded.url, "--api-key", "right", "--json")
    finally:
        guarded.close()

    assert (refused.code, refused.json()["error"]["kind"]) == (1, "refused")
    assert "--api-key" in refused.json()["error"]["hint"]
    assert check_answer(answered)["model"] == "metronome"


def test_s6_a_truncated_answer_is_printed_and_exit_code_1(metronome: Metronome) -> None:
    plan = Plan(tokens=8, cut_at=3).model_id()
    done = run("query", "Hi.", "--server", metronome.url, "--model", plan, "--json")

    assert done.code == 1
    assert (done.json()["text"], done.json()["truncated"]) == ("w1 w2 w3 ", True)
    assert done.stderr


def test_an_error_in_the_middle_shows_what_came_and_the_error(metronome: Metronome) -> None:
    plan = Plan(tokens=8, error_at=3).model_id()
    done = run("query", "Hi.", "--server", metronome.url, "--model", plan)

    assert (done.code, done.stdout) == (1, "w1 w2 w3 \n")
    assert done.stderr


def test_several_models_are_listed_when_none_was_named() -> None:
    server = start_metronome(models=("alpha", "beta"))
    try:
        done = run("query", "Hi.", "--server", server.url, "--json")
    finally:
        server.close()

    assert done.code == 2
    assert "alpha, beta" in done.json()["error"]["hint"]


@pytest.mark.parametrize(
    "arguments", [("",), ("Hi.", "--max-tokens", "0"), ("Hi.", "--server", "http://127.1"), ()]
)
def test_what_cannot_be_meant_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    done = run("query", *arguments, "--json")

    assert done.code == 2
    assert done.json()["error"]["message"]


def test_g1_a_model_that_is_no_model_is_named_with_its_fault(engine: Path, home: Path) -> None:
    (home / "data" / "models").mkdir()
    (home / "data" / "models" / "broken.gguf").write_bytes(b"<html>404</html>")

    done = run("query", "Hi.", "--json")

    assert (done.code, done.json()["error"]["kind"]) == (1, "model_file")
    assert "broken" in done.json()["error"]["message"]
    assert "--demo" in done.json()["error"]["hint"]


def test_an_unknown_local_model_gets_a_suggestion(demo_model: Path) -> None:
    done = run("--demo", "query", "Hi.", "--model", "SmolLM2", "--json")

    assert done.code == 1
    assert "SmolLM2-135M" in done.json()["error"]["hint"]


def test_a_dash_reads_the_question_from_standard_input(metronome: Metronome) -> None:
    process = start("query", "-", "--server", metronome.url, "--json", stdin=subprocess.PIPE)
    stdout, _ = process.communicate("Drei Farben, größer.".encode(), timeout=30)

    assert process.returncode == 0
    assert json.loads(stdout)["text"]


def test_an_empty_standard_input_is_no_question() -> None:
    assert run("query", "-", "--json").code == 2


@pytest.mark.skipif(sys.platform == "win32", reason="signals of a terminal")
def test_ctrl_c_while_the_question_is_typed_ends_it() -> None:
    process = start("query", "-", stdin=subprocess.PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2)
    process.send_signal(signal.SIGINT)

    assert process.wait(10) == 130
    for pipe in (process.stdin, process.stdout, process.stderr):
        assert pipe is not None
        pipe.close()


# Before the service is asked, while it starts, while the model loads, while it answers.
@pytest.mark.skipif(sys.platform == "win32", reason="signals of a terminal")
@pytest.mark.parametrize("after_s", [0.2, 0.6, 1.0, 1.4, 1.8, 2.4, 3.2])
def test_ctrl_c_at_any_moment_leaves_nothing(engine: Path, demo_model: Path, after_s: float) -> None:
    process = start("--demo", "query", "Tell a very long story.", "--max-tokens", "2000")
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    done = finish(process)

    assert done.code in (130, -signal.SIGINT)
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals of a terminal")
@pytest.mark.parametrize("after_s", [0.8, 1.6, 2.6])
def test_kill_9_at_any_moment_leaves_nothing(engine: Path, demo_model: Path, after_s: float) -> None:
    process = start("--demo", "query", "Tell a very long story.", "--max-tokens", "2000")
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        process.kill()
    finish(process)


def _until_service(home: Path, owner: "subprocess.Popen[bytes]") -> None:
    """Return once the service of `home` answers; looking costs a small file."""
    while running_service(home_at(home)) is None:
        try:
            owner.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f"ended early: {finish(owner)}")


def test_a_saved_turn_is_found_shown_and_given_away(metronome: Metronome) -> None:
    model = Plan(tokens=5, gap_ms=5).model_id()
    asked = ("query", "What is kept?", "--server", metronome.url, "--model", model)
    unsaved = run(*asked, "--json").json()
    assert "conversation" not in unsaved
    assert run("history", "list", "--json").json() == {"conversations": [], "total": 0}

    saved = run(*asked, "--save", "--json").json()

    found = run("history", "search", "kept", "--json").json()["conversations"]
    assert [(one["id"], one["title"], one["messages"]) for one in found] == [
        (saved["conversation"], "What is kept?", 2)
    ]
    shown = run("history", "show", saved["conversation"][:8], "--json").json()
    assert [turn["text"] for turn in shown["turns"]] == ["What is kept?", saved["text"]]
    assert shown["turns"][1]["metrics"]["output_tokens"] == saved["metrics"]["output_tokens"]
    assert run("history", "export", saved["conversation"]).stdout.startswith("# What is kept?\n")
    done = run(*asked, "--save")
    assert (done.code, done.stdout) == (0, "w1 w2 w3 w4 w5 \n")
    assert "Kept as " in done.stderr


def test_an_answer_that_cannot_be_kept_is_shown_all_the_same(metronome: Metronome, home: Path) -> None:
    """B3: a newer program's file is not written."""
    model = Plan(tokens=5, gap_ms=5).model_id()
    asked = ("query", "Hi.", "--server", metronome.url, "--model", model, "--save", "--json")
    assert run(*asked).code == 0
    with closing(sqlite3.connect(home / "data" / "history.db")) as connection:
        connection.execute("PRAGMA user_version = 999")

    done = run(*asked)

    assert (done.code, done.json()["text"]) == (1, "w1 w2 w3 w4 w5 ")
    assert "newer version" in done.stderr
