"""`history`: what it prints, its JSON, and what it refuses."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from llama_runner.cli import app
from llama_runner.core.paths import create_folders, home_at
from tests.unit.chat.exports import chatgpt, lm_studio, open_webui


@pytest.fixture
def export(home: Path) -> Path:
    """Three conversations of three programs; the folders are there."""
    create_folders(home_at(home))
    path = home / "export.json"
    path.write_text(json.dumps([chatgpt(1, 4), open_webui(), lm_studio(), {"odd": 1}]))
    return path


def run(*argv: str) -> tuple[int, Any]:
    """A command's exit code and its JSON."""
    stdout = io.StringIO()
    code = app.run(["history", *argv, "--json"], stdout=stdout, stderr=io.StringIO())
    return code, json.loads(stdout.getvalue())


def text_of(*argv: str) -> tuple[int, str]:
    """A command's exit code and its text, with what went to the standard error."""
    stdout = io.StringIO()
    code = app.run(["history", *argv], stdout=stdout, stderr=stdout)
    return code, stdout.getvalue()


def first_id() -> str:
    return str(run("list")[1]["conversations"][0]["id"])


def test_an_export_is_brought_in_listed_and_searched(export: Path) -> None:
    code, report = run("import", str(export))
    assert code == 0
    assert (report["new"], report["messages"], len(report["left_out"])) == (3, 8, 1)

    _, listed = run("list")
    assert [one["title"] for one in listed["conversations"]] == ["Studio talk", "Talk 1", "Webui talk"]
    assert listed["total"] == 3
    wanted = {"id", "title", "updated", "model", "messages", "created", "origin", "excerpt"}
    assert set(listed["conversations"][0]) == wanted
    assert run("list", "--limit", "1", "--offset", "1")[1]["conversations"][0]["title"] == "Talk 1"

    _, found = run("search", "becau")
    assert [(one["title"], one["model"], one["messages"]) for one in found["conversations"]] == [
        ("Studio talk", "qwen3-8b", 2)
    ]
    assert found["complete"]


def test_people_see_the_same_as_a_table(export: Path) -> None:
    assert "No conversation is kept" in text_of("list")[1]
    said = text_of("import", str(export))[1]
    assert "Conversations imported: 3, messages in all: 8." in said
    assert "Left out: objects without a conversation that this program knows (1)." in said
    assert "Here already: 3." in text_of("import", str(export))[1]
    lines = text_of("list", "--limit", "2")[1].splitlines()
    assert [line.split()[-2:] for line in lines[1:3]] == [["Studio", "talk"], ["Talk", "1"]]
    assert "1 older ones" in lines[3]
    assert "Because." in text_of("search", "because")[1]
    assert "Nothing was found." in text_of("search", "nowhere")[1]


def test_one_conversation_is_shown_renamed_and_given_away(export: Path) -> None:
    run("import", str(export))
    short = first_id()[:6]

    shown = run("show", short)[1]
    assert [turn["text"] for turn in shown["turns"]] == ["Why?", "Because."]
    assert "qwen3-8b:\nBecause." in text_of("show", short)[1]
    assert run("rename", short, "Other  name") == (0, {"id": shown["id"], "title": "Other name"})
    assert text_of("export", short)[1].startswith("# Other name\n")
    assert "<h1>Other name</h1>" in run("export", short, "--format", "html")[1]["text"]

    file = export.with_name("one.json")
    assert run("export", short, "--format", "json", "--output", str(file))[1]["file"] == str(file)
    assert json.loads(file.read_text()) == run("show", short)[1]
    # Never over a file that is there.
    assert run("export", short, "--output", str(file))[1]["error"]["kind"] == "storage"

    assert run("delete", short, "--yes") == (0, {"deleted": shown["id"], "title": "Other name"})
    assert run("list")[1]["total"] == 2
    assert run("import", str(file))[1]["new"] == 1
    assert run("show", short)[1] == shown | {"title": "Other name"}


@pytest.mark.parametrize(
    ("argv", "code", "kind"),
    [
        (("show", "ffff"), 1, "not_found"),
        (("delete", "ffff", "--yes"), 1, "not_found"),
        (("show", "no id"), 2, "usage"),
        (("show", "ab"), 2, "usage"),
        (("import", "nowhere.json"), 2, "usage"),
        (("list", "--limit", "0"), 2, "usage"),
        (("export", "ffff", "--format", "pdf"), 2, "usage"),
    ],
)
def test_what_cannot_be_done_is_said(export: Path, argv: tuple[str, ...], code: int, kind: str) -> None:
    found, said = run(*argv)
    assert (found, said["error"]["kind"]) == (code, kind)


def test_deleting_asks_first(export: Path) -> None:
    run("import", str(export))
    code, said = run("delete", first_id())
    assert (code, said["error"]["kind"]) == (2, "usage")
    assert run("list")[1]["total"] == 3


def test_a_broken_file_is_told_and_the_command_goes_on(export: Path) -> None:
    """B1."""
    run("import", str(export))
    # The next opening copies it.
    run("list")
    file = home_at(export.parent).data_dir / "history.db"
    file.write_bytes(b"no database at all")

    code, said = text_of("list")

    assert code == 0
    assert "Studio talk" in said
    assert "The kept conversations could not be used" in said
