"""`doctor`: versions, folders, ports, engine, models, GPU, and how to mend what is wrong."""

import argparse
import os
from typing import Final

from llama_runner.cli.render import Output
from llama_runner.core.errors import ExitCode
from llama_runner.workspace.checks import Status
from llama_runner.workspace.doctor import DoctorReport, examine

_MARKS: Final = {Status.OK: "ok     ", Status.WARNING: "warning", Status.ERROR: "ERROR  "}


class DoctorCommand:
    """Look at everything and say what to do. Fails only when something keeps the program from working."""

    name = "doctor"
    help = "what is here, what is wrong and how to mend it"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """It has no arguments of its own."""

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Examine and report."""
        report = await examine(args.home, demo=args.demo, env=os.environ)
        out.document(report)
        out.text(render(report))
        return ExitCode.FAILED if report.status is Status.ERROR else ExitCode.DONE


def render(report: DoctorReport) -> str:
    """The report for people: one line per check, what to do below it."""
    lines = [f"Llama Runner {report.version}, Python {report.python}, {report.platform}"]
    lines.append(", ".join(f"{name} {version or 'missing'}" for name, version in report.packages.items()))
    for check in report.checks:
        lines.append(f"{_MARKS[check.status]}  {check.name}: {check.detail}")
        if check.fix:
            lines.append(f"         -> {check.fix}")
    return "\n".join(lines)
