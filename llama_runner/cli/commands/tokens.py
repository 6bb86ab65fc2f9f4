"""`tokens`: how many tokens a text is, by the model's own tokenizer."""

import argparse

from llama_runner.backends.base import Backend, Target
from llama_runner.backends.models import TokenCount
from llama_runner.backends.request import ChatRequest, Message, Role
from llama_runner.cli.asking import add_target_options, target_of, workspace_of
from llama_runner.cli.render import Output
from llama_runner.cli.stdin import read_text
from llama_runner.core import format as fmt
from llama_runner.core.errors import ExitCode, UnsupportedError


class TokensCommand:
    """Counts exactly, or says that nobody can: an estimate is no count."""

    name = "tokens"
    help = "count the tokens of a text"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the text and the target."""
        parser.add_argument("text", metavar="TEXT", help="the text; - reads it from standard input")
        parser.add_argument(
            "--chat", action="store_true", help="as a question, with what the chat template adds"
        )
        add_target_options(parser)

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Ask once and print."""
        text = await read_text() if args.text == "-" else args.text
        async with workspace_of(args, out) as workspace:
            target = await target_of(workspace, args)
            count = await _count(workspace.connect(target.endpoint), target, text, chat=args.chat)
        out.document(
            {
                "server": target.endpoint.base_url,
                "engine": target.endpoint.engine,
                "model": target.model_id,
                "tokens": count.tokens,
                "tokens_source": count.source,
            }
        )
        out.text(f"{fmt.count(count.tokens)} tokens")
        out.note(target.label)
        return ExitCode.DONE


async def _count(backend: Backend, target: Target, text: str, *, chat: bool) -> TokenCount:
    if chat:
        count = await backend.count_prompt(ChatRequest(target.model_id, (Message(Role.USER, text),)))
    else:
        count = await backend.count_tokens(target.model_id, text)
    if count is None:
        what = "a whole question" if chat else "a text"
        raise UnsupportedError(
            f"{target.endpoint.base_url} does not count the tokens of {what}: "
            f"{target.endpoint.engine} servers keep their tokenizer to themselves.",
            "Ask llama-server or vLLM, which let others use theirs.",
        )
    return count
