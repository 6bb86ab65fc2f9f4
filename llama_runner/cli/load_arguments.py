"""The load options as arguments of a command, made from their catalogue."""

import argparse
from typing import Any

from llama_runner.core.load_options import FLAGS, Group, LoadOptions, kinds_of, parse_options


def add_load_options(parser: argparse.ArgumentParser) -> None:
    """An argument for every option of the catalogue, in its groups."""
    groups = {group: parser.add_argument_group(group.value) for group in Group}
    for name, flag in FLAGS.items():
        info = LoadOptions.model_fields[name]
        help_text = (info.description or "").replace("%", "%%")
        metavar = _shown(kinds_of(name), name)
        groups[flag.group].add_argument(f"--{name.replace('_', '-')}", metavar=metavar, help=help_text)


def given_load_options(args: argparse.Namespace) -> LoadOptions:
    """What was given. Raises UsageError that names what is out of bounds."""
    given = {name: getattr(args, name) for name in FLAGS if getattr(args, name) is not None}
    return parse_options({name: _value(name, text) for name, text in given.items()})


def options_text(options: LoadOptions) -> str:
    """Options as they are typed, those that are chosen only; empty for none."""
    chosen = options.model_dump(mode="json", exclude_none=True)
    return " ".join(f"--{name.replace('_', '-')} {_typed(value)}" for name, value in chosen.items())


def _typed(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ",".join(_typed(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _shown(kinds: tuple[Any, ...], name: str) -> str:
    """What an option takes, for its help."""
    if kinds == (bool,):
        return "yes|no"
    if kinds == (tuple,):
        return "N,N" if name == "tensor_split" else "NAME,NAME"
    if kinds in ((int,), (float,)):
        return "N"
    return "|".join(kinds) if all(isinstance(kind, str) for kind in kinds) else "NAME"


def _value(name: str, text: str) -> object:
    """A text of the command line as the option's own kind, where it is one: the rest is said by the check."""
    kinds = kinds_of(name)
    if kinds == (bool,):
        return {"yes": True, "no": False}.get(text, text)
    return tuple(part for part in text.split(",") if part) if kinds == (tuple,) else text
