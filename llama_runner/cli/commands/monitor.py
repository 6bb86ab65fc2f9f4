"""`monitor`: what this machine is doing, once or live."""

import argparse
import asyncio
import csv
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, TextIO

from llama_runner.cli.context import home_of
from llama_runner.cli.render import Output
from llama_runner.core.clock import Clock, SystemClock, seconds
from llama_runner.core.config import load_app_config
from llama_runner.core.errors import ExitCode, StorageError, UsageError
from llama_runner.core.format import UNKNOWN, percent, size, size_rate
from llama_runner.telemetry.collector import TelemetryCollector
from llama_runner.telemetry.sample import Sample, flatten, to_json

# Rates need two readings; in half a second the processor's 10 ms ticks give about whole percents.
ONCE_INTERVAL_S: Final = 0.5
SHORTEST_INTERVAL_S: Final = 0.05
LONGEST_INTERVAL_S: Final = 3600.0


class MonitorCommand:
    """Shows processor, memory, disk, network and graphics cards."""

    name = "monitor"
    help = "live figures of this machine"

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add --once, --seconds, --interval and --csv."""
        parser.add_argument("--once", action="store_true", help="one sample, then end")
        parser.add_argument("--seconds", type=float, metavar="N", help="end after N seconds")
        parser.add_argument("--interval", type=float, metavar="S", help="seconds between samples")
        parser.add_argument("--csv", type=Path, metavar="FILE", help="also write every sample to FILE")

    async def run(self, args: argparse.Namespace, out: Output) -> ExitCode:
        """Print samples until the time is up or the person interrupts."""
        _check(args)
        interval_s = ONCE_INTERVAL_S if args.once else args.interval or _usual_interval_s(args)
        collector = TelemetryCollector(interval_s, history_s=2 * interval_s, clock=self._clock)
        with ExitStack() as stack:
            table = stack.enter_context(CsvTable(args.csv)) if args.csv else None
            stack.callback(collector.close)
            collector.start()
            async for sample in self._samples(collector, once=args.once, seconds_s=args.seconds):
                if table:
                    table.write(sample)
                _show(sample, out, once=args.once)
        return ExitCode.DONE

    async def _samples(
        self, collector: TelemetryCollector, *, once: bool, seconds_s: float | None
    ) -> AsyncIterator[Sample]:
        start_ns = self._clock.now_ns()
        revision = 1  # the first sample has no rates yet
        while True:
            left_s = None if seconds_s is None else seconds_s - seconds(self._clock.now_ns(), start_ns)
            if left_s is not None and left_s <= 0:
                return
            wait_s = collector.interval_s * 2 if left_s is None else min(left_s, collector.interval_s * 2)
            revision_now = await _newer(collector, revision, wait_s)
            if revision_now > revision and collector.latest is not None:
                revision = revision_now
                yield collector.latest
                if once:
                    return


async def _newer(collector: TelemetryCollector, revision: int, wait_s: float) -> int:
    try:
        return await asyncio.to_thread(collector.wait_newer, revision, wait_s)
    except asyncio.CancelledError:
        # The waiting thread would hold up the end of the program for the rest of the interval.
        collector.close()
        raise


class CsvTable:
    """Samples as rows of a file; the columns are those of the first sample."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None
        self._columns: tuple[str, ...] = ()

    def __enter__(self) -> "CsvTable":
        try:
            self._file = self._path.open("w", encoding="utf-8", newline="")
        except OSError as error:
            raise StorageError(
                f"{self._path} cannot be written: {error.strerror}.", "Choose another file for --csv."
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, sample: Sample) -> None:
        """Add one row; unknown values stay empty."""
        if self._file is None:
            return
        row: dict[str, object] = {
            "time": sample.time_utc.isoformat(timespec="milliseconds"),
            **flatten(sample),
        }
        if not self._columns:
            self._columns = tuple(row)
            csv.writer(self._file).writerow(self._columns)
        csv.DictWriter(self._file, self._columns, extrasaction="ignore").writerow(row)
        # Someone may follow the file while it grows.
        self._file.flush()


def _usual_interval_s(args: argparse.Namespace) -> float:
    return load_app_config(home_of(args)).value.monitor.interval_s


def _check(args: argparse.Namespace) -> None:
    if args.interval is not None and not SHORTEST_INTERVAL_S <= args.interval <= LONGEST_INTERVAL_S:
        raise UsageError(
            f"--interval {args.interval:g} is not possible.",
            f"Choose between {SHORTEST_INTERVAL_S:g} and {LONGEST_INTERVAL_S:g} seconds.",
        )
    if args.seconds is not None and not args.seconds > 0:
        raise UsageError(f"--seconds {args.seconds:g} is not possible.", "Give a number above 0.")
    if args.once and args.seconds is not None:
        raise UsageError("--once and --seconds exclude each other.", "Leave one of them out.")


def _show(sample: Sample, out: Output, *, once: bool) -> None:
    if once:
        out.document(to_json(sample))
    else:
        out.line(to_json(sample))
    out.text(describe(sample))


def describe(sample: Sample) -> str:
    """One readable line."""
    return "  ".join(
        (
            f"{sample.time_utc.astimezone():%H:%M:%S}",
            f"CPU {percent(sample.cpu_pct)}",
            f"RAM {size(sample.ram_used_bytes)} of {size(sample.ram_total_bytes)}",
            f"disk {size_rate(sample.disk_read_bps)} read, {size_rate(sample.disk_write_bps)} written",
            f"net {size_rate(sample.net_recv_bps)} in, {size_rate(sample.net_sent_bps)} out",
            *(
                f"GPU {i} {percent(gpu.util_pct)}, "
                f"VRAM {size(gpu.vram_used_bytes)} of {size(gpu.vram_total_bytes)}"
                for i, gpu in enumerate(sample.gpus)
            ),
            *(() if sample.gpus else (f"GPU {UNKNOWN}",)),
        )
    )
