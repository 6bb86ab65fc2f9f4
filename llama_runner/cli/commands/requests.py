"""`requests`: what went through the proxy, and where the time went."""

import argparse

from llama_runner.cli.local_service import local_service
from llama_runner.cli.render import Output, table
from llama_runner.control.values import ProxiedRequest
from llama_runner.core import format as fmt
from llama_runner.core.errors import ExitCode
from llama_runner.core.text import visible_controls

_HEAD = (
    "no",
    "path",
    "model",
    "step",
    "status",
    "outcome",
    "queue",
    "load",
    "engine",
    "first byte",
    "own",
    "total",
    "in",
    "out",
)


class RequestsCommand:
    """A line per request; no text of prompts or answers is kept."""

    name = "requests"
    help = "the newest requests through the proxy"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """No arguments of its own."""

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Ask once and print."""
        async with local_service(args) as client:
            requests = (await client.requests()).requests if client else ()
        if client is None:
            out.note("No service is running.")
        out.document({"requests": requests})
        out.text(describe(requests))
        return ExitCode.DONE


def describe(requests: tuple[ProxiedRequest, ...]) -> str:
    """A table for people, oldest first."""
    if not requests:
        return "Nothing went through the proxy."
    rows = [
        (
            str(one.number),
            visible_controls(one.path, 40),
            visible_controls(one.model, 60),
            one.step or fmt.UNKNOWN,
            fmt.UNKNOWN if one.status is None else str(one.status),
            f"{one.outcome} ({one.error})" if one.error else one.outcome,
            *(
                fmt.seconds(value)
                for value in (
                    one.queue_s,
                    one.load_s,
                    one.upstream_s,
                    one.first_byte_s,
                    one.own_s,
                    one.total_s,
                )
            ),
            fmt.count(one.prompt_tokens),
            fmt.count(one.output_tokens),
        )
        for one in requests
    ]
    return "\n".join([table(_HEAD, rows), *filter(None, map(_remarks, requests))])


def _remarks(one: ProxiedRequest) -> str:
    """What a table has no room for: steps that did not answer, a context that was too small."""
    told = [f"{step.where} did not answer: {step.why}" for step in one.tried]
    told += [one.warning] if one.warning else []
    return f"{one.number}: {'; '.join(told)}" if told else ""
