"""`discover`: look for model servers, on this machine unless hosts are named."""

import argparse
from typing import Any

from llama_runner.cli.asking import workspace_of
from llama_runner.cli.render import Output, table
from llama_runner.core import format as fmt
from llama_runner.core.errors import ExitCode, UsageError
from llama_runner.core.text import visible_controls
from llama_runner.discovery.networks import plan_scan
from llama_runner.discovery.registry import ServerRecord
from llama_runner.discovery.scan import ScanReport


class DiscoverCommand:
    """One scan of known ports: a connect each, questions only where something listens."""

    name = "discover"
    help = "find model servers"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add what to look at."""
        parser.add_argument("--hosts", metavar="A,B", help="hosts to look at instead of this machine")
        parser.add_argument("--ports", metavar="P,Q", help="ports to look at instead of the known ones")
        parser.add_argument("--timeout", type=float, metavar="S", help="seconds a port may take to accept")

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Scan and print; our own service's models are found through the service, without a scan."""
        hosts = tuple(filter(None, args.hosts.split(","))) if args.hosts else ()
        ports = _ports(args.ports) if args.ports else None
        if args.timeout is not None and not 0 < args.timeout <= 60:
            raise UsageError("--timeout must be more than 0 and at most 60 seconds.", "0.5 is the default.")
        async with workspace_of(args, out) as workspace:
            await workspace.service.attach()
            plan = plan_scan(
                workspace.settings.discovery, hosts=hosts, ports=ports, connect_timeout_s=args.timeout
            )
            report = await workspace.discovery.scan(plan)
            records = [r for r in workspace.registry.records if r.source == "service"]
            own = [await workspace.discovery.check(r.id) for r in records if r not in report.found]
        servers = [*own, *report.found]
        out.document(
            {
                "servers": [server_document(record) for record in servers],
                "probed": report.probed,
                "elapsed_s": report.elapsed_s,
                "rejected": report.rejected,
            }
        )
        out.text(describe(servers))
        _note_the_rest(report, out)
        return ExitCode.DONE


def server_document(record: ServerRecord) -> dict[str, Any]:
    """One server as JSON."""
    return {
        "id": record.id,
        "url": record.base_url,
        "engine": record.product or record.engine,
        "certainty": record.certainty,
        "version": record.version,
        "status": record.status,
        "latency_s": record.latency_s,
        "models": record.models,
        "source": record.source,
        "last_seen": record.last_seen_utc,
        "problem": record.problem or None,
    }


def describe(servers: list[ServerRecord]) -> str:
    """A table for people, with the models below."""
    if not servers:
        return "No model server was found."
    rows = [
        (
            record.base_url,
            visible_controls(record.product or record.engine, 40),
            visible_controls(record.version or fmt.UNKNOWN, 40),
            record.status,
            fmt.seconds(record.latency_s),
            fmt.count(len(record.models)),
        )
        for record in servers
    ]
    lines = [table(("server", "engine", "version", "status", "latency", "models"), rows)]
    for record in servers:
        if record.problem:
            lines.append(f"{record.base_url}: {record.problem}")
        lines += [f"{record.base_url}  {visible_controls(model.id)}" for model in record.models]
    return "\n".join(lines)


def _ports(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isascii() and part.isdigit() and len(part) <= 5 for part in parts):
        raise UsageError("--ports takes numbers with commas between them.", "For example --ports 8080,11434.")
    return tuple(int(part) for part in parts)


def _note_the_rest(report: ScanReport, out: Output) -> None:
    out.note(f"{fmt.count(report.probed)} ports looked at in {fmt.seconds(report.elapsed_s)}.")
    for rejected in report.rejected:
        out.note(f"Not listed: {rejected.url}: {rejected.reason}")
