"""`logs`: lines of the program's log, or what a model's engine wrote."""

import argparse
import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

from llama_runner.cli.context import home_of
from llama_runner.cli.local_service import find_instances, local_service, no_service
from llama_runner.cli.render import Output
from llama_runner.control.client import ControlClient
from llama_runner.core.errors import ExitCode, NotFoundError, ServiceError, StorageError, UsageError
from llama_runner.core.logtail import LogTail, model_log, program_log
from llama_runner.runtime.catalogue import clean_id
from llama_runner.system.folders import open_folder

log = logging.getLogger(__name__)

DEFAULT_LINES: Final = 100
# How late a followed line may appear.
LOOK_AGAIN_S: Final = 0.5


class LogsCommand:
    """Shows the last lines; with `--follow` everything that comes after them too."""

    name = "logs"
    help = "log lines of the program or of a model"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""
        parser.add_argument(
            "model",
            metavar="MODEL",
            nargs="?",
            help="a model, loaded now or earlier; without one, the program",
        )
        parser.add_argument(
            "--lines", type=int, default=DEFAULT_LINES, metavar="N", help="last lines to show"
        )
        parser.add_argument("--follow", action="store_true", help="go on until Ctrl+C")
        parser.add_argument("--open", action="store_true", help="open the logs folder in the file manager")

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Print lines; with --json each as `{"source", "line"}`."""
        if args.lines < 0:
            raise UsageError(f"--lines {args.lines} is not possible.", "Give a number of at least 0.")
        if args.open:
            await asyncio.to_thread(open_folder, home_of(args).logs_dir)
            return ExitCode.DONE
        if args.model is None:
            source = program_log(home_of(args))
            async for line in file_lines(source, last=args.lines, follow=args.follow):
                _show(out, "llama-runner", line)
            return ExitCode.DONE
        async with local_service(args) as client:
            async for line in _model_lines(args, client, out):
                _show(out, args.model, line)
        return ExitCode.DONE


async def _model_lines(
    args: argparse.Namespace, client: ControlClient | None, out: Output
) -> AsyncGenerator[str, None]:
    """The output of a loaded model; of any other, what it wrote when it was loaded."""
    try:
        if client is None:
            raise no_service()
        (instance_id, *_) = await find_instances(client, args.model)
        lines = instance_lines(client, instance_id, last=args.lines, follow=args.follow)
    except (NotFoundError, ServiceError):
        earlier = model_log(home_of(args), clean_id(args.model))
        if not earlier.exists():
            raise
        out.note(f"{args.model} is not loaded: this is what it wrote earlier.")
        lines = file_lines(earlier, last=args.lines, follow=args.follow)
    async for line in lines:
        yield line


def _show(out: Output, source: str, line: str) -> None:
    out.line({"source": source, "line": line})
    out.text(line)


async def instance_lines(
    client: ControlClient, instance_id: str, *, last: int, follow: bool
) -> AsyncGenerator[str, None]:
    """The last lines of an instance's output, then what follows until the instance is gone."""
    chunk = await client.log(instance_id)
    for line in chunk.lines[len(chunk.lines) - min(last, len(chunk.lines)) :]:
        yield line
    while follow:
        await asyncio.sleep(LOOK_AGAIN_S)
        try:
            chunk = await client.log(instance_id, after=chunk.next)
        except NotFoundError:
            return
        for line in chunk.lines:
            yield line


async def file_lines(path: Path, *, last: int, follow: bool) -> AsyncGenerator[str, None]:
    """The last lines of a log file, then what follows; goes over to the new file when it is rotated."""
    tail = LogTail(path)
    try:
        lines = tail.read()
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error
    for line in deque(lines, maxlen=last):
        yield line
    while follow:
        await asyncio.sleep(LOOK_AGAIN_S)
        for line in tail.read():
            yield line
