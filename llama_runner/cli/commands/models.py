"""`models`: the model files that can be loaded here, or what a server offers."""

import argparse
import asyncio
from dataclasses import replace
from difflib import get_close_matches

from llama_runner.cli.api_key import add_api_key_options, names_api_key
from llama_runner.cli.commands.server_models import list_server
from llama_runner.cli.context import home_of
from llama_runner.cli.local_service import local_service
from llama_runner.cli.render import Output, table
from llama_runner.control.values import ModelList, ServedModel
from llama_runner.core import format as fmt
from llama_runner.core.errors import ExitCode, NotFoundError, UsageError
from llama_runner.core.text import visible_controls


class ModelsCommand:
    """Files: asks the service when one runs, as it may look elsewhere; looks itself otherwise."""

    name = "models"
    help = "model files that were found, or a server's models"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the server to ask instead."""
        parser.add_argument("--server", metavar="URL", help="list what this server offers")
        parser.add_argument("--model", metavar="ID", help="all that is known about one of them")
        add_api_key_options(parser)

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Look once and print."""
        if args.server is not None:
            return await list_server(args, out)
        if names_api_key(args):
            raise UsageError("A key goes with a server.", "Name it with --server.")
        async with local_service(args) as client:
            found = await client.models() if client else await asyncio.to_thread(_look, args)
        if args.model is not None:
            model = _named(found, args.model)
            out.document(model)
            out.text(card(model))
            return ExitCode.DONE
        out.document(found)
        out.text(describe(found))
        for problem in found.problems:
            out.note(problem)
        return ExitCode.DONE


def _look(args: argparse.Namespace) -> ModelList:
    from llama_runner.core.config import load_app_config, load_models_config
    from llama_runner.runtime.catalogue import find_models
    from llama_runner.runtime.room import RESERVE_BYTES
    from llama_runner.service.views import model_list_view
    from llama_runner.system.identity import free_memory_bytes

    home = home_of(args)
    config, entries = load_app_config(home).value, load_models_config(home).value
    found = find_models(config, entries, home, include_demo=args.demo)
    # Without a service nothing is loaded; graphics cards are its business.
    free = max(0, free_memory_bytes() - RESERVE_BYTES)
    return model_list_view(replace(found, room_bytes=config.runtime.memory_limit_bytes or free))


def _named(found: ModelList, wanted: str) -> ServedModel:
    model = next((one for one in found.models if one.id == wanted), None)
    if model is None:
        ids = tuple(one.id for one in found.models)
        raise NotFoundError(
            f"There is no model {visible_controls(wanted, 80)} on this machine.",
            f"Known models: {', '.join(ids[:10]) or 'none'}.",
            tuple(get_close_matches(wanted, ids)),
        )
    return model


def describe(found: ModelList) -> str:
    """A table for people, with what is wrong below it."""
    if not found.models:
        return "No model was found. Put GGUF files into the models folder, or use --demo for a small one."
    rows = [
        (
            m.id,
            fmt.size(m.size_bytes),
            m.architecture or fmt.UNKNOWN,
            m.quantization or fmt.UNKNOWN,
            fmt.count(m.context_length),
            m.fit or fmt.UNKNOWN,
            m.origin,
        )
        for m in found.models
    ]
    faults = [f"{m.id}: {m.problem}" for m in found.models if m.problem]
    return "\n".join(
        (table(("model", "size", "family", "quantization", "context", "fit", "from"), rows), *faults)
    )


def card(model: ServedModel) -> str:
    """All that is known of one model, a line each."""
    family = " ".join(filter(None, (model.base_name, model.size_label))) or None
    facts: tuple[tuple[str, str | None], ...] = (
        ("name", model.name),
        ("family", family),
        ("made from", model.base_model),
        ("license", model.license),
        ("architecture", model.architecture),
        ("quantization", model.quantization),
        ("weights", _or_none(model.parameter_count)),
        ("layers", _or_none(model.block_count)),
        ("trained context", _or_none(model.context_length)),
        ("can", ", ".join(model.capabilities) or None),
        ("size", fmt.size(model.size_bytes) + (f" in {model.parts} files" if model.parts > 1 else "")),
        ("fit", _fit(model)),
        ("file", model.path),
        ("found in", model.origin),
        ("projector", model.projector),
        *(("adapter", adapter.path) for adapter in model.adapters),
        ("chat template", _template(model)),
        *(("odd", warning) for warning in model.warnings),
        ("problem", model.problem),
    )
    lines = [f"{title:<16} {visible_controls(text, 1024)}" for title, text in facts if text]
    return "\n".join((model.id, *lines))


def _or_none(count: int | None) -> str | None:
    return None if count is None else fmt.count(count)


def _fit(model: ServedModel) -> str | None:
    if model.fit is None:
        return None
    return f"{model.fit}: needs {fmt.size(model.need_bytes)} of {fmt.size(model.room_bytes)}"


def _template(model: ServedModel) -> str | None:
    if model.template_sha256 is None:
        return None
    changed = ", another one than this file had before" if model.template_changed else ""
    return f"{model.template_sha256[:12]}{changed}"
