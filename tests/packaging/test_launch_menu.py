"""LaunchMenu.ps1: nothing here can run PowerShell, so its syntax tree is read instead."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import tree_sitter_pwsh
from tree_sitter import Language, Node, Parser

from llama_runner.__main__ import Mode, decide
from llama_runner.cli.app import Parser as CommandParser
from llama_runner.cli.app import common_options, split_common
from llama_runner.cli.command import load_command
from llama_runner.cli.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
SOURCE = (ROOT / "LaunchMenu.ps1").read_bytes()
ENTRY = re.compile(
    r"^    (\w+) += @\{ Text = '([^']+)'; Script = '([^']+)'; Arguments = @\(([^)]*)\) \}$", re.M
)


def _tree(source: bytes) -> Node:
    return Parser(Language(tree_sitter_pwsh.language())).parse(source).root_node


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _walk(child)


def _entries() -> dict[str, tuple[str, list[str]]]:
    return {
        name: (script, re.findall(r"'([^']*)'", arguments))
        for name, _, script, arguments in ENTRY.findall(SOURCE.decode())
    }


def test_the_menu_is_valid_powershell() -> None:
    assert not _tree(SOURCE).has_error


@pytest.mark.parametrize(
    "damage", [(b"foreach ($item in", b"foreach ($item"), (b"exit $lastCode\n", b"exit (\n")]
)
def test_the_syntax_test_sees_damage(damage: tuple[bytes, bytes]) -> None:
    assert _tree(SOURCE.replace(*damage)).has_error


def test_it_has_every_entry_the_menu_promises() -> None:
    assert list(_entries()) == ["window", "service", "stop", "doctor", "tests", "logs"]
    (allowed,) = re.findall(rb"ValidateSet\(([^)]*)\)", SOURCE)
    assert re.findall(r"'(\w+)'", allowed.decode()) == list(_entries())


@pytest.mark.parametrize("name", _entries())
def test_each_entry_is_one_command_the_program_understands(name: str) -> None:
    script, arguments = _entries()[name]
    assert (ROOT / "scripts" / script).is_file()
    if decide(arguments) is Mode.COMMAND:
        _, rest = split_common(arguments)
        target = next(target for known, target, _ in COMMANDS if known == rest[0])
        parser = CommandParser(parents=[common_options()], allow_abbrev=False)
        load_command(target).configure(parser)
        parser.parse_args(rest[1:])


def test_the_exit_code_of_an_entry_is_passed_on() -> None:
    text = SOURCE.decode()

    assert "    Invoke-Entry -Choice $Entries[$Entry]\n    exit $LASTEXITCODE\n" in text
    assert "    $lastCode = $LASTEXITCODE\n" in text
    assert text.endswith("exit $lastCode\n")


def test_it_starts_programs_in_one_place_only() -> None:
    heads = [node.children[0] for node in _walk(_tree(SOURCE)) if node.type == "command"]

    assert {(head.text or b"").decode() for head in heads} == {
        "&",
        "Find-Python",
        "Get-Command",
        "Invoke-Entry",
        "Join-Path",
        "Read-Host",
        "Set-StrictMode",
        "Show-Menu",
        "Write-Host",
    }
    assert [head.text for head in heads].count(b"&") == 1
