"""`serve`: run the service in this terminal, or end the one that runs."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from llama_runner.cli.context import home_of
from llama_runner.cli.render import Output
from llama_runner.core.errors import ConfigError, ExitCode
from llama_runner.net.listen import parse_listen
from llama_runner.system.privileges import runs_as_root

if TYPE_CHECKING:
    from llama_runner.service.addresses import ProxyUrls


class ServeCommand:
    """Runs until a signal, `serve --stop`, or the end of its owner."""

    name = "serve"
    help = "run the service without a window"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""
        parser.add_argument("--stop", action="store_true", help="end the running service and its models")
        parser.add_argument(
            "--print-url",
            action="store_true",
            help="print a link that lets a browser into the running service, once",
        )
        parser.add_argument("--control", metavar="HOST:PORT", help="where the control API listens")
        parser.add_argument(
            "--openai", metavar="HOST:PORT", help="where the OpenAI and LM Studio API listens"
        )
        parser.add_argument("--ollama", metavar="HOST:PORT", help="where the Ollama API listens")
        parser.add_argument(
            "--token-file",
            metavar="FILE",
            type=Path,
            help="file with the token that every program has to send, in place of the access token",
        )
        parser.add_argument("--models", metavar="DIR", type=Path, help="folder with the model files")
        parser.add_argument("--engine", metavar="PATH", type=Path, help="the llama-server to run")
        # For the window and for `query`, which hold our stdin: its end is theirs.
        parser.add_argument("--owned", action="store_true", help=argparse.SUPPRESS)
        parser.add_argument("--keep-serving", action="store_true", help=argparse.SUPPRESS)

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Serve, or stop."""
        if args.stop:
            return await _stop(args, out)
        if args.print_url:
            return await _print_url(args, out)
        _check(args)
        if runs_as_root():
            out.note("This runs as root: a fault in a model server would have all rights. Use another user.")
        # Only now: `--stop` and a mistake in the arguments need nothing of the serving side.
        from llama_runner.control.access_token import read_token_file
        from llama_runner.net.credentials import hash_token
        from llama_runner.service.addresses import ProxyAddresses
        from llama_runner.service.app import ServiceOptions, run_service
        from llama_runner.service.live_config import Overrides

        options = ServiceOptions(
            control=parse_listen(args.control) if args.control else None,
            proxy=ProxyAddresses(
                openai=parse_listen(args.openai) if args.openai else None,
                ollama=parse_listen(args.ollama) if args.ollama else None,
            ),
            token_hash=hash_token(read_token_file(args.token_file)) if args.token_file else None,
            overrides=Overrides(
                models_dir=args.models.absolute() if args.models else None,
                engine=args.engine.absolute() if args.engine else None,
            ),
            owned=args.owned,
            keep=args.keep_serving,
            demo=args.demo,
        )
        await run_service(home_of(args), options, on_ready=lambda url, proxy: _ready(out, url, proxy))
        return ExitCode.DONE


def _ready(out: Output, url: str, proxy: "ProxyUrls") -> None:
    out.line({"event": "ready", "openai": proxy.openai, "ollama": proxy.ollama, "control": url})
    out.text(f"The service runs; its control API is at {url}.")
    if proxy.openai:
        out.text(f"OpenAI and LM Studio API: {proxy.openai} (for OpenAI clients: {proxy.openai}/v1)")
    if proxy.ollama:
        out.text(f"Ollama API: {proxy.ollama}")
    out.note("Ctrl+C ends it.")


def _check(args: argparse.Namespace) -> None:
    if args.models and not args.models.is_dir():
        raise ConfigError(f"The models folder {args.models} is not there.", "Give an existing folder.")
    if args.engine and not args.engine.is_file():
        raise ConfigError(f"The engine {args.engine} is not there.", "Give the path of llama-server.")


async def _print_url(args: argparse.Namespace, out: Output) -> ExitCode:
    from llama_runner.cli.local_service import local_service, no_service

    async with local_service(args) as client:
        if client is None:
            raise no_service()
        link = await client.login_link()
    out.document({"url": link.url, "expires_in_s": link.expires_in_s})
    out.text(link.url)
    out.note(
        f"It works once, within {link.expires_in_s:.0f} s. Whoever has it can do all that this program can."
    )
    return ExitCode.DONE


async def _stop(args: argparse.Namespace, out: Output) -> ExitCode:
    from llama_runner.control.launcher import stop_running
    from llama_runner.net.client import open_http

    async with open_http() as http:
        pid = await stop_running(home_of(args), http=http)
    out.document({"stopped": pid is not None, "pid": pid})
    out.text("No service is running." if pid is None else f"The service (pid {pid}) has ended.")
    return ExitCode.DONE
