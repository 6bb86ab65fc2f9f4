"""Commands that ask a server: every option reaches it, and what it cannot be told is told to the person."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llama_runner.cli.app import run
from llama_runner.cli.options import duration_s
from llama_runner.core.errors import ExitCode
from tests.fakes.metronome import Metronome, start_metronome
from tests.integration.program import Done, finish, start

PNG = b"\x89PNG\r\n\x1a\n rest"
SCHEMA = {"type": "object", "properties": {"legs": {"type": "integer"}}}


@pytest.fixture(scope="module")
def vllm() -> Iterator[Metronome]:
    server = start_metronome(engine="vllm")
    yield server
    server.close()


@pytest.fixture(scope="module")
def keyed() -> Iterator[Metronome]:
    server = start_metronome(engine="openai", api_key="sk-right")
    yield server
    server.close()


@pytest.fixture(scope="module")
def ollama() -> Iterator[Metronome]:
    server = start_metronome(engine="ollama", models=("qwen3:8b", "llama3.2:latest"))
    yield server
    server.close()


@pytest.fixture(autouse=True)
def at_home(home: Path) -> Path:
    return home


def run_command(*argv: str) -> tuple[int, str, str]:
    stdout, stderr = io.StringIO(), io.StringIO()
    code = run(argv, stdout=stdout, stderr=stderr)
    return code, stdout.getvalue(), stderr.getvalue()


def document(*argv: str, code: ExitCode = ExitCode.DONE) -> Any:
    got, stdout, stderr = run_command(*argv, "--json")
    assert got == code, stderr
    return json.loads(stdout)


def at(server: Metronome, model: str | None = None) -> tuple[str, ...]:
    return ("--server", server.url, *(("--model", model) if model else ()))


# --- query ---

OPTIONS = (
    *("--temperature", "0.5", "--top-p", "0.9", "--top-k", "40", "--min-p", "0.05", "--seed", "7"),
    *("--repeat-penalty", "1.1", "--presence-penalty", "0.2", "--frequency-penalty", "-0.3"),
    *("--stop", "END", "--stop", "###", "--effort", "low", "--keep-alive", "5m", "--max-tokens", "3"),
)


def test_every_option_reaches_the_server(ollama: Metronome, tmp_path: Path) -> None:
    image, schema = tmp_path / "cat.txt", tmp_path / "schema.json"
    image.write_bytes(PNG)
    schema.write_text(json.dumps(SCHEMA))
    files = ("--image", str(image), "--schema", str(schema))
    answer = document("query", "How many?", *at(ollama, "qwen3:8b"), *OPTIONS, *files)
    assert answer["not_sent"] == []
    body = ollama.log()[-1].body
    assert body["options"] == {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.05,
        "seed": 7,
        "repeat_penalty": 1.1,
        "presence_penalty": 0.2,
        "frequency_penalty": -0.3,
        "stop": ["END", "###"],
        "num_predict": 3,
    }
    assert (body["think"], body["keep_alive"], body["format"]) == ("low", 300, SCHEMA)
    assert body["messages"][-1]["images"] == ["iVBORw0KGgogcmVzdA=="]


def test_what_was_not_sent_is_told(vllm: Metronome) -> None:
    asked = ("query", "Hi.", *at(vllm), "--keep-alive", "-1", "--top-k", "4")
    assert document(*asked)["not_sent"] == ["keep_alive_s"]
    code, stdout, stderr = run_command(*asked)
    assert (code, stdout.strip()) == (0, "w1 w2 w3 w4 w5 w6 w7 w8")
    assert "Not sent, as vllm servers have no such option: --keep-alive." in stderr


def test_an_arena_tells_per_entry_what_was_not_sent(vllm: Metronome, ollama: Metronome) -> None:
    entries = ("--entry", f"{ollama.url}#qwen3:8b", "--entry", f"{ollama.url}#llama3.2:latest")
    compared = document("arena", "compare", "Hi.", *entries, "--min-p", "0.1", "--thinking", "off")
    assert [entry["not_sent"] for entry in compared["entries"]] == [[], []]
    assert ollama.log()[-1].body["think"] is False


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--top-p", "7"), "7 is not between 0 and 1"),
        (("--temperature", "nan"), "nan is not between"),
        (("--top-k", "x"), "invalid whole number value"),
        (("--keep-alive", "soon"), "no duration"),
        (("--thinking", "maybe"), "neither on nor off"),
        (("--effort", "huge"), "invalid choice"),
        (("--thinking", "off", "--effort", "low"), "not to"),
        (("--image", "no/such/file"), "cannot be read"),
        (("--schema", "no/such/file"), "cannot be read"),
    ],
)
def test_options_that_make_no_sense_are_usage_errors(
    vllm: Metronome, options: tuple[str, ...], said: str
) -> None:
    error = document("query", "Hi.", *at(vllm), *options, code=ExitCode.USAGE)["error"]
    assert said in error["message"]
    assert error["hint"]


@pytest.mark.parametrize("content", [b"", b"<svg>", b"RIFF1234WAVE", b"\x89PN"])
def test_a_file_that_is_no_image_is_refused_by_its_content(
    vllm: Metronome, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "x.png").write_bytes(content)
    image = ("--image", str(tmp_path / "x.png"))
    error = document("query", "Hi.", *at(vllm), *image, code=ExitCode.USAGE)["error"]
    assert "is not an image" in error["message"]


@pytest.mark.parametrize("content", ["{", "[]", "7", "\ufeff{}"])
def test_a_file_that_is_no_schema_is_refused(vllm: Metronome, tmp_path: Path, content: str) -> None:
    (tmp_path / "s.json").write_text(content)
    schema = ("--schema", str(tmp_path / "s.json"))
    assert "schema" in str(document("query", "Hi.", *at(vllm), *schema, code=ExitCode.USAGE)["error"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [("300", 300), ("5m", 300), ("1h30m", 5400), ("250ms", 0.25), ("0", 0), ("-1", -1), ("1.5s", 1.5)],
)
def test_durations_are_written_as_ollama_writes_them(text: str, expected: float) -> None:
    assert duration_s(text) == expected


# --- models ---


def test_a_servers_models_are_listed_with_what_it_says_about_them(ollama: Metronome) -> None:
    listed = document("models", *at(ollama))
    assert (listed["server"], listed["engine"]) == (ollama.url, "ollama")
    assert [model["id"] for model in listed["models"]] == ["qwen3:8b", "llama3.2:latest"]
    assert [model["loaded"] for model in listed["models"]] == [True, False]
    code, stdout, _ = run_command("models", *at(ollama))
    assert code == 0
    assert "4,096 (running) of 8,192" in stdout and "8,192 (trained)" in stdout


def test_one_model_is_described(ollama: Metronome) -> None:
    (model,) = document("models", *at(ollama, "llama3.2"))["models"]
    assert model["id"] == "llama3.2:latest"
    assert "thinking" in model["capabilities"]
    error = document("models", *at(ollama, "qwen3:9b"), code=ExitCode.FAILED)["error"]
    assert (error["kind"], error["hint"]) == ("not_found", "Did you mean qwen3:8b?")


def test_a_model_that_is_not_here_is_not_found() -> None:
    error = document("models", "--model", "x", code=ExitCode.FAILED)["error"]
    assert error["kind"] == "not_found"


# --- embed and tokens ---


def test_texts_become_vectors(vllm: Metronome) -> None:
    found = document("embed", "a cat", "a dog", *at(vllm))
    assert [len(vector) for vector in found["embeddings"]] == [found["dimensions"]] * 2
    assert (found["model"], found["prompt_tokens"]) == ("metronome", 4)
    code, stdout, stderr = run_command("embed", "a cat", *at(vllm))
    assert (code, len(stdout.splitlines())) == (0, 1)
    assert "a cat" in stdout and "8 numbers each" in stderr


def test_texts_come_from_standard_input_too(vllm: Metronome, tmp_path: Path) -> None:
    def given(text: str, *command: str) -> Done:
        (tmp_path / "in.txt").write_text(text)
        with (tmp_path / "in.txt").open() as stdin:
            return finish(start(*command, "-", *at(vllm), "--json", stdin=stdin.fileno()))

    assert len(given("a cat\n\n a dog \n", "embed").json()["embeddings"]) == 2
    assert given("a cat\n\n a dog \n", "tokens").json()["tokens"] == 4
    nothing = given(" \n", "embed")
    assert (nothing.code, nothing.json()["error"]["kind"]) == (ExitCode.USAGE, "usage")


def test_tokens_are_counted_or_it_is_said_that_nobody_can(vllm: Metronome, ollama: Metronome) -> None:
    counted = document("tokens", "one two three", *at(vllm))
    assert (counted["tokens"], counted["tokens_source"]) == (3, "server_tok")
    assert document("tokens", "--chat", "one", *at(vllm))["tokens"] == 12
    error = document("tokens", "one", *at(ollama, "qwen3:8b"), code=ExitCode.FAILED)["error"]
    assert error["kind"] == "unsupported"


@pytest.mark.parametrize("command", [("query", "x"), ("embed", "x"), ("tokens", "x"), ("models",)])
def test_a_server_that_wants_a_key_says_so_and_takes_it(keyed: Metronome, command: tuple[str, ...]) -> None:
    error = document(*command, *at(keyed), code=ExitCode.FAILED)["error"]
    assert error["kind"] == "refused"
    code = ExitCode.FAILED if command[0] == "tokens" else ExitCode.DONE
    assert document(*command, *at(keyed), "--api-key", "sk-right", code=code)
