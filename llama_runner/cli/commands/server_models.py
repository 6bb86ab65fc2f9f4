"""`models --server`: what another server offers, with all that it says about each."""

import argparse

from llama_runner.backends.models import ModelInfo
from llama_runner.cli.api_key import given_api_key
from llama_runner.cli.asking import workspace_of
from llama_runner.cli.render import Output, table
from llama_runner.core import format as fmt
from llama_runner.core.errors import ExitCode
from llama_runner.core.text import visible_controls

_LOADED = {True: "in memory", False: "not loaded", None: fmt.UNKNOWN}


async def list_server(args: argparse.Namespace, out: Output) -> ExitCode:
    """List a server's models, or describe the one that `--model` names."""
    async with workspace_of(args, out) as workspace:
        endpoint = await workspace.resolve_endpoint(
            args.server, await given_api_key(args), key_over_plain_http=args.yes
        )
        backend = workspace.connect(endpoint)
        if args.model is None:
            models = await backend.list_models()
        else:
            models = (await backend.describe(args.model),)
    out.document({"server": endpoint.base_url, "engine": endpoint.engine, "models": models})
    out.text(describe_models(models) if models else f"{endpoint.base_url} offers no model.")
    return ExitCode.DONE


def describe_models(models: tuple[ModelInfo, ...]) -> str:
    """A table for people."""
    headers = ("model", "size", "family", "weights", "quantization", "context", "state", "can")
    return table(headers, [_row(model) for model in models])


def _row(model: ModelInfo) -> tuple[str, ...]:
    texts = (model.family, model.parameters, model.quantization)
    return (
        visible_controls(model.id),
        fmt.size(model.size_bytes),
        *(visible_controls(text, 40) if text else fmt.UNKNOWN for text in texts),
        _context(model),
        _LOADED[model.loaded],
        visible_controls(", ".join(model.capabilities), 80) or fmt.UNKNOWN,
    )


def _context(model: ModelInfo) -> str:
    """What applies, where that comes from, and what it was trained for where that is something else."""
    if model.context_length is None:
        return fmt.UNKNOWN
    text = f"{fmt.count(model.context_length)} ({model.context_source})"
    longer = model.trained_context
    return text if longer in (None, model.context_length) else f"{text} of {fmt.count(longer)}"
