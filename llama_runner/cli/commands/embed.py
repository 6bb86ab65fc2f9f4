"""`embed`: texts as vectors."""

import argparse
import math

from llama_runner.backends.base import Target
from llama_runner.backends.models import Embeddings
from llama_runner.cli.asking import add_target_options, target_of, workspace_of
from llama_runner.cli.render import Output
from llama_runner.cli.stdin import read_text
from llama_runner.core import format as fmt
from llama_runner.core.errors import ExitCode, UsageError

# The beginning of a vector is enough for a person; programs read --json.
SHOWN_NUMBERS = 4


class EmbedCommand:
    """Has a model turn texts into vectors."""

    name = "embed"
    help = "texts as vectors"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the texts and the target."""
        parser.add_argument(
            "text", metavar="TEXT", nargs="+", help="a text; - reads one per line from standard input"
        )
        add_target_options(parser)

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Ask once and print."""
        texts = await _texts(args.text)
        async with workspace_of(args, out) as workspace:
            target = await target_of(workspace, args)
            found = await workspace.connect(target.endpoint).embed(target.model_id, texts)
        out.document(_document(target, found))
        for text, vector in zip(texts, found.vectors, strict=True):
            out.text(f"{_line(vector)}  {' '.join(text.split())[:60]}")
        out.note(_summary(target, found))
        return ExitCode.DONE


async def _texts(given: list[str]) -> list[str]:
    if given == ["-"]:
        given = (await read_text()).splitlines()
    texts = [text for text in given if text.strip()]
    if not texts:
        raise UsageError("There is no text.", 'Give it in quotes: embed "A cat" "A dog".')
    return texts


def _document(target: Target, found: Embeddings) -> dict[str, object]:
    return {
        "server": target.endpoint.base_url,
        "engine": target.endpoint.engine,
        "model": target.model_id,
        "dimensions": len(found.vectors[0]),
        "prompt_tokens": found.prompt_tokens,
        "embeddings": found.vectors,
    }


def _line(vector: tuple[float, ...]) -> str:
    beginning = " ".join(f"{value:+.4f}" for value in vector[:SHOWN_NUMBERS])
    return f"[{beginning} …] length {fmt.number(math.hypot(*vector))}"


def _summary(target: Target, found: Embeddings) -> str:
    tokens = "" if found.prompt_tokens is None else f" · {fmt.count(found.prompt_tokens)} tokens"
    return f"{target.label} · {fmt.count(len(found.vectors[0]))} numbers each{tokens}"
