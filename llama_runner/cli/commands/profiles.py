"""`profiles`: a model's named ways to be loaded."""

import argparse
from typing import Any, Final

from llama_runner.cli.context import home_of
from llama_runner.cli.load_arguments import add_load_options, given_load_options, options_text
from llama_runner.cli.render import Output, table
from llama_runner.control.serving import ProfileList
from llama_runner.core.config import load_app_config, load_models_config
from llama_runner.core.errors import ExitCode
from llama_runner.core.format import UNKNOWN
from llama_runner.core.load_options import LoadOptions
from llama_runner.runtime.library import ModelLibrary
from llama_runner.service.serving_api import profiles_view

_ACTIONS: Final = (
    ("list", "the profiles of a model"),
    ("save", "add or replace one, with the options that are given"),
    ("remove", "forget one"),
    ("default", "choose the one that counts when none is named"),
)


class ProfilesCommand:
    """Works on the file of models alone; a running service sees the change with its next load."""

    name = "profiles"
    help = "list, save, remove and choose a model's profiles"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the actions."""
        actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
        parsers = {name: actions.add_parser(name, help=text, description=text) for name, text in _ACTIONS}
        for action in parsers.values():
            action.add_argument("model", metavar="MODEL", help="id as `models` lists it")
        for name in ("save", "remove"):
            parsers[name].add_argument("profile", metavar="PROFILE", help="its name")
        parsers["default"].add_argument(
            "profile", metavar="PROFILE", nargs="?", help="its name; leave it out for none"
        )
        add_load_options(parsers["save"])

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Do the action and show what there is then."""
        home = home_of(args)
        library = ModelLibrary(
            config=lambda: load_app_config(home).value,
            models_config=lambda: load_models_config(home).value,
            home=home,
            demo=args.demo,
        )
        match args.action:
            case "save":
                found = await library.save_profile(args.model, args.profile, given_load_options(args))
            case "remove":
                found = await library.remove_profile(args.model, args.profile)
            case "default":
                found = await library.set_default_profile(args.model, args.profile)
            case _:
                found = await library.profiles(args.model)
        view = profiles_view(found)
        out.document(profiles_document(view))
        out.text(describe(view))
        return ExitCode.DONE


def profiles_document(found: ProfileList) -> dict[str, Any]:
    """All of it as JSON, with the options that are chosen only."""
    return {
        "model": found.model,
        "default": found.default,
        "profiles": {name: _chosen(options) for name, options in found.profiles.items()},
        "parameters": _chosen(found.parameters),
    }


def _chosen(options: LoadOptions) -> dict[str, Any]:
    return options.model_dump(mode="json", exclude_none=True)


def describe(found: ProfileList) -> str:
    """A table for people."""
    always = options_text(found.parameters)
    said = f"Always with {always}.\n" if always else ""
    if not found.profiles:
        return f"{said}{found.model} has no profiles. Add one with `profiles save {found.model} NAME`."
    rows = [
        (name, "default" if name == found.default else "", options_text(options) or UNKNOWN)
        for name, options in found.profiles.items()
    ]
    return said + table(("profile", "", "options"), rows)
