"""`config`: show, read, change, check, back up and restore the settings."""

import argparse
import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from llama_runner.cli.confirm import confirm
from llama_runner.cli.context import home_of
from llama_runner.cli.local_service import tell_service
from llama_runner.cli.render import Output
from llama_runner.core.backups import back_up, backups_of
from llama_runner.core.clock import SystemClock
from llama_runner.core.config import (
    Problem,
    Severity,
    get_setting,
    load_app_config,
    load_models_config,
)
from llama_runner.core.consistency import inconsistencies
from llama_runner.core.editing import describe_setting, parse_setting
from llama_runner.core.errors import ExitCode, NotFoundError
from llama_runner.core.fields import Applies, Section, all_settings
from llama_runner.core.paths import Home
from llama_runner.core.settings import AppConfig
from llama_runner.system.config_changes import change_app_config, restore

_ACTIONS: Final = (
    ("show", "every setting"),
    ("get", "one setting"),
    ("set", "change one setting"),
    ("validate", "check both configuration files"),
    ("backup", "keep a copy of both files"),
    ("restore", "put a kept copy back; asks first"),
)
_COUNTS: Final[dict[Applies, str]] = {
    "now": "",
    "load": "It counts from the next load of a model on.",
    "start": "It counts from the next start on, of the service or of the window.",
}


class ConfigCommand:
    """Works on the files alone; a running service is told afterwards that they changed."""

    name = "config"
    help = "show, read, change and check settings"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the actions. The common options may stand before or after them."""
        actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
        parsers = {name: actions.add_parser(name, help=text) for name, text in _ACTIONS}
        parsers["get"].add_argument("key", metavar="KEY", help="for example stress.concurrency")
        parsers["set"].add_argument("key", metavar="KEY")
        parsers["set"].add_argument("value", metavar="VALUE", help="empty or null for settings that allow it")
        parsers["restore"].add_argument("name", metavar="NAME", nargs="?", help="as `backup` named it")

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Do the action."""
        home = home_of(args)
        match args.action:
            case "show":
                return _show(home, out)
            case "get":
                return _get(home, args.key, out)
            case "set":
                _set(home, args.key, args.value, out)
                await tell_service(args, out)
                return ExitCode.DONE
            case "validate":
                return _validate(home, out)
            case "backup":
                return _backup(home, out)
            case _:
                if not await _restore(home, args, out):
                    return ExitCode.FAILED
                await tell_service(args, out)
                return ExitCode.DONE


def _show(home: Home, out: Output) -> ExitCode:
    app, models = load_app_config(home), load_models_config(home)
    out.document(
        {
            "file": home.app_config_file,
            "settings": app.value.model_dump(mode="json"),
            "models_file": home.models_config_file,
            "models": models.value.model_dump(mode="json"),
        }
    )
    for info in all_settings(AppConfig):
        value = get_setting(app.value, info.key)
        # What was changed stands out; the unit follows its number.
        unit = f" {info.unit}" if info.unit and value is not None else ""
        changed = "" if plain(value) == plain(info.default) else "  (changed)"
        out.text(f"{info.key} = {shown(value)}{unit}{changed}")
    _note_problems((*app.problems, *models.problems), out)
    return ExitCode.DONE


def _get(home: Home, key: str, out: Output) -> ExitCode:
    loaded = load_app_config(home)
    value = get_setting(loaded.value, key)
    out.document({"key": key, "value": plain(value)})
    out.text(shown(value))
    _note_problems(loaded.problems, out)
    return ExitCode.DONE


def _set(home: Home, key: str, text: str, out: Output) -> None:
    unusable = load_app_config(home).unusable
    before, after = change_app_config(home, {key: parse_setting(key, text)})
    if unusable:
        kept = backups_of(home.app_config_file)[0]
        out.note(f"The file could not be used and is now a new one; the old one is kept as {kept}.")
    old, new = plain(get_setting(before, key)), plain(get_setting(after, key))
    applies = describe_setting(key).applies
    out.document({"key": key, "value": new, "before": old, "applies": applies})
    out.text(f"{key} = {shown(new)}" + ("" if old == new else f"  (was {shown(old)})"))
    if old != new and _COUNTS[applies]:
        out.note(_COUNTS[applies])


def _validate(home: Home, out: Output) -> ExitCode:
    app, models = load_app_config(home), load_models_config(home)
    between = inconsistencies(app.value, models.value)
    files = (
        (home.app_config_file, (*app.problems, *(one for one in between if one.key.startswith("runtime.")))),
        (home.models_config_file, (*models.problems, *(o for o in between if o.key.startswith("models.")))),
    )
    found = [(path, problem) for path, problems in files for problem in problems]
    valid = all(problem.severity is not Severity.ERROR for _, problem in found)
    out.document({"valid": valid, "problems": [_problem_document(path, p) for path, p in found]})
    for path, problem in found:
        where = "" if path.name in problem.message else f"{path.name}: "
        out.text(f"{problem.severity}: {where}{problem.message} {problem.hint}".rstrip())
    if not found:
        out.text("Both configuration files are in order.")
    return ExitCode.DONE if valid else ExitCode.USAGE


def _problem_document(path: Path, problem: Problem) -> dict[str, object]:
    return {
        "file": path,
        "severity": problem.severity,
        "key": problem.key,
        "message": problem.message,
        "hint": problem.hint,
    }


def _backup(home: Home, out: Output) -> ExitCode:
    kept = [copy for path in _files(home) if (copy := back_up(path, SystemClock())) is not None]
    out.document({"backups": kept})
    out.text("\n".join(f"Kept as {path}." for path in kept) or "There is nothing to keep: all is default.")
    return ExitCode.DONE


async def _restore(home: Home, args: argparse.Namespace, out: Output) -> bool:
    """Whether it was done: a person may think better of it."""
    target, backup = _choose_backup(home, args.name)
    what = f"{target.name} becomes what it was in {backup.name}; what it is now is kept as a backup."
    if not await confirm(what, "Restore it?", args, out):
        return False
    await asyncio.to_thread(restore, target, backup, SystemClock())
    out.document({"restored": backup, "file": target})
    out.text(f"{target.name} is as it was in {backup.name}.")
    return True


def _choose_backup(home: Home, name: str | None) -> tuple[Path, Path]:
    """The file to write and the backup to read: the named one, else the newest of the settings."""
    kept = [(path, backup) for path in _files(home) for backup in backups_of(path)]
    for path, backup in kept:
        if name in (None, backup.name):
            return path, backup
    names = ", ".join(backup.name for _, backup in kept[:5]) or "none"
    raise NotFoundError(
        "There is no such backup." if name else "There is no backup yet.", f"Newest backups: {names}."
    )


def _files(home: Home) -> tuple[Path, Path]:
    return home.app_config_file, home.models_config_file


def _note_problems(problems: tuple[Problem, ...], out: Output) -> None:
    for problem in problems:
        out.note(f"{problem.message} {problem.hint}".rstrip())


def plain(value: Any) -> Any:
    """A setting's value, or a whole section, as JSON has it."""
    if isinstance(value, Section):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    return list(value) if isinstance(value, tuple) else value


def shown(value: Any) -> str:
    """A value as a person reads it and `config set` takes it."""
    value = plain(value)
    if isinstance(value, dict):
        return "\n".join(f"{key} = {shown(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)
