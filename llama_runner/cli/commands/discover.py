"""`discover`: look for model servers, on this machine unless hosts or networks are named."""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from llama_runner.backends.models import ModelInfo
from llama_runner.cli.asking import workspace_of
from llama_runner.cli.confirm import confirm
from llama_runner.cli.render import Output, table
from llama_runner.core import format as fmt
from llama_runner.core.errors import ExitCode, UsageError
from llama_runner.core.settings import DiscoverySettings
from llama_runner.core.tasks import TaskOwner
from llama_runner.core.text import visible_controls
from llama_runner.discovery.manager import DiscoveryManager
from llama_runner.discovery.networks import ScanPlan, own_networks, plan_scan
from llama_runner.discovery.registry import Certainty, ServerRecord
from llama_runner.discovery.scan import ScanReport

# In place of a network: those of this machine's interfaces.
OWN: Final = "own"


class DiscoverCommand:
    """One scan of known ports: a connect each, questions only where something listens."""

    name = "discover"
    help = "find model servers"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add what to look at."""
        parser.add_argument("--hosts", metavar="A,B", help="hosts to look at instead of this machine")
        parser.add_argument(
            "--network",
            action="append",
            default=[],
            metavar="CIDR",
            help=f'a private network to look at, such as 192.168.1.0/24; "{OWN}" for those of this machine;'
            " can be given more than once",
        )
        parser.add_argument("--ports", metavar="P,Q", help="ports to look at instead of the known ones")
        parser.add_argument("--timeout", type=float, metavar="S", help="seconds a port may take to accept")
        parser.add_argument(
            "--no-mdns", action="store_true", help="do not ask a network by mDNS what it offers"
        )

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Scan and print; our own service's models are found through the service, without a scan."""
        async with workspace_of(args, out) as workspace:
            plan = _plan(args, workspace.settings.discovery)
            if plan.wants_a_yes and not await confirm(_announcement(plan), "Scan it?", args, out):
                out.note("Nothing was scanned.")
                return ExitCode.FAILED
            await workspace.service.attach()
            async with _showing_progress(workspace.discovery, out):
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
                "hosts": len(plan.hosts),
                "networks": plan.networks,
                "ports": plan.ports,
                "problems": report.problems,
            }
        )
        out.text(describe(servers))
        _note_the_rest(report, out)
        return ExitCode.DONE


def _plan(args: argparse.Namespace, settings: DiscoverySettings) -> ScanPlan:
    if args.timeout is not None and not 0 < args.timeout <= 60:
        raise UsageError("--timeout must be more than 0 and at most 60 seconds.", "0.5 is the default.")
    return plan_scan(
        settings,
        hosts=tuple(filter(None, args.hosts.split(","))) if args.hosts else (),
        networks=[network for text in args.network for network in _networks(text)],
        ports=_ports(args.ports) if args.ports else None,
        connect_timeout_s=args.timeout,
        browse=not args.no_mdns,
    )


def _networks(text: str) -> list[str]:
    if text != OWN:
        return [text]
    own = [interface.network for interface in own_networks()]
    if not own:
        raise UsageError("This machine is in no private network.", "Name hosts with --hosts.")
    return own


def _announcement(plan: ScanPlan) -> str:
    """What a scan is about to do, in numbers (R10)."""
    names = {
        interface.network: f" ({interface.name}, as {interface.address})" for interface in own_networks()
    }
    hosts = [host for host in plan.hosts if not plan.covers(host)]
    lines = [
        f"This scan tries {_counted(len(plan.hosts), 'address', 'es')}"
        f" on {_counted(len(plan.ports), 'port', 's')} each:",
        *(f"  {network}{names.get(network, '')}" for network in plan.networks),
        *([f"  {', '.join(hosts)}"] if hosts else []),
        f"  ports {', '.join(map(str, plan.ports))}",
        "Open ports get a few read-only questions, without any key.",
    ]
    if plan.browse:
        lines.append("The networks are asked by mDNS what they offer.")
    return "\n".join(lines)


def _counted(number: int, what: str, ending: str) -> str:
    return f"{fmt.count(number)} {what}{'' if number == 1 else ending}"


@asynccontextmanager
async def _showing_progress(discovery: DiscoveryManager, out: Output) -> AsyncIterator[None]:
    tasks = TaskOwner()
    tasks.start(_show_progress(discovery, out), name="show progress")
    try:
        yield
    finally:
        await tasks.close()
        out.progress("")


async def _show_progress(discovery: DiscoveryManager, out: Output) -> None:
    async for step in discovery.progress.subscribe():
        what = "ports looked at" if step.phase == "connect" else "open ports asked"
        found = _counted(step.found, "server", "s")
        out.progress(f"{fmt.count(step.done)} of {fmt.count(step.total)} {what}, {found} found")


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
            _engine(record),
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
        lines += [f"{record.base_url}  {_model(model)}" for model in record.models]
    return "\n".join(lines)


def _model(model: ModelInfo) -> str:
    """Its name, and what tells it from others."""
    context = f"{fmt.count(model.context_length)} tokens" if model.context_length else ""
    return "  ".join(filter(None, (visible_controls(model.id), context, ", ".join(model.capabilities))))


def _engine(record: ServerRecord) -> str:
    """Its name, and how sure that is unless it is."""
    name = visible_controls(record.product or record.engine, 40)
    return name if record.certainty is Certainty.CERTAIN else f"{name} ({record.certainty})"


def _ports(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isascii() and part.isdigit() and len(part) <= 5 for part in parts):
        raise UsageError("--ports takes numbers with commas between them.", "For example --ports 8080,11434.")
    return tuple(int(part) for part in parts)


def _note_the_rest(report: ScanReport, out: Output) -> None:
    out.note(f"{fmt.count(report.probed)} ports looked at in {fmt.seconds(report.elapsed_s)}.")
    for problem in report.problems:
        out.note(problem)
    for rejected in report.rejected:
        out.note(f"Not listed: {rejected.url}: {rejected.reason}")
