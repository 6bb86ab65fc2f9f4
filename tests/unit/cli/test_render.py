"""What is written where."""

import io
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import PurePosixPath

import pytest

from llama_runner.cli.render import Output, harmless, table, to_json


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Leaf:
    colour: Colour
    secret: str = field(default="s3cret", repr=False)


@dataclass(frozen=True)
class Tree:
    leaves: tuple[Leaf, ...]
    path: PurePosixPath
    when: datetime
    tags: frozenset[str]
    unknown: None = None


def _output(
    *, json: bool = False, quiet: bool = False, terminal: bool = False
) -> tuple[Output, io.StringIO, io.StringIO]:
    stdout, stderr = (Terminal(), Terminal()) if terminal else (io.StringIO(), io.StringIO())
    return Output(json=json, quiet=quiet, stdout=stdout, stderr=stderr), stdout, stderr


def test_values_become_json_and_what_is_kept_out_of_the_repr_stays_out() -> None:
    tree = Tree(
        (Leaf(Colour.RED),), PurePosixPath("/a"), datetime(2026, 1, 2, tzinfo=UTC), frozenset({"b", "a"})
    )

    assert json.loads(to_json(tree)) == {
        "leaves": [{"colour": "red"}],
        "path": "/a",
        "when": "2026-01-02T00:00:00+00:00",
        "tags": ["a", "b"],
        "unknown": None,
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_json_does_not_have_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        to_json({"x": value})


def test_a_value_without_json_form_is_refused() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        to_json(object())


def test_a_second_document_is_a_bug() -> None:
    out, _, _ = _output(json=True)
    out.document({})

    with pytest.raises(RuntimeError):
        out.document({})


def test_lines_are_one_json_document_each() -> None:
    out, stdout, _ = _output(json=True)

    out.line({"a": 1})
    out.line({"a": "two\nlines"})

    assert [json.loads(line)["a"] for line in stdout.getvalue().splitlines()] == [1, "two\nlines"]


def test_control_characters_of_a_model_do_not_reach_a_terminal() -> None:
    out, stdout, _ = _output(terminal=True)

    out.text("a\x1b]0;title\x07\x9b31mb\tc\r\n", end="")

    assert stdout.getvalue() == "a␛]0;title␇\ufffd31mb\tc␍\n"


def test_text_to_a_file_is_left_as_it_is() -> None:
    out, stdout, _ = _output()

    out.text("a\x1b[0m", end="")

    assert stdout.getvalue() == "a\x1b[0m"


def test_progress_shows_on_a_terminal_and_is_gone_before_the_result() -> None:
    out, stdout, stderr = _output(terminal=True)

    out.progress("1 of 2")
    out.text("result")

    assert stderr.getvalue() == "1 of 2\r      \r"
    assert stdout.getvalue() == "result\n"


def test_progress_into_a_file_and_notes_when_quiet_are_left_out() -> None:
    out, _, stderr = _output()
    out.progress("1 of 2")
    quiet, _, quiet_stderr = _output(quiet=True, terminal=True)
    quiet.progress("1 of 2")
    quiet.note("by the way")

    assert stderr.getvalue() == quiet_stderr.getvalue() == ""


def test_columns_of_a_table_line_up() -> None:
    assert (
        table(["id", "size"], [["a", "1 GiB"], ["longer", "2"]]) == "ID      SIZE\na       1 GiB\nlonger  2"
    )


def test_harmless_keeps_what_is_readable() -> None:
    assert harmless("zwölf\t😀\n") == "zwölf\t😀\n"
