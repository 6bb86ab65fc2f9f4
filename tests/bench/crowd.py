"""How a real service bears a crowd that connects and keeps it waiting (F28), beside one client that asks.

`python -m tests.bench.crowd --count 10000 --seconds 30`

A new connection costs the service about 0.1 ms of a processor. Who comes behind a burst waits for it in the
kernel's queue (`answer`); where that overflows, the client knocks again a second later (`connect`,
`queue_overflows`). `own_lag` is how late this client itself was, for want of a processor.
"""

import argparse
import asyncio
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from llama_runner.core.paths import create_folders, home_at
from tests.integration.service_process import started_service

PACE_S = 1.0
HEAD = b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"


async def loris(port: int, later_s: float, counts: dict[str, int]) -> None:
    """One byte of a head a second; sent away, it comes back a second later."""
    head = HEAD % port + b"X-Slow: " + b"x" * 4000
    while True:
        await asyncio.sleep(later_s)
        later_s = PACE_S
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            counts["refused"] += 1
            continue
        counts["connected"] += 1
        try:
            for byte in head:
                writer.write(bytes([byte]))
                try:
                    async with asyncio.timeout(PACE_S):
                        if not await reader.read(100):
                            counts["sent_away"] += 1
                            break
                except TimeoutError:
                    continue
        except ConnectionError:
            counts["sent_away"] += 1
        finally:
            writer.close()


async def good_request(port: int) -> tuple[float, float]:
    """Seconds of one request on a connection of its own: until it is connected, and from there to its end."""
    began_s = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    connected_s = time.perf_counter()
    writer.write(HEAD % port + b"Connection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"no answer: {answer[:100]!r}")
    return connected_s - began_s, time.perf_counter() - connected_s


def queue_overflows() -> int | None:
    """Connections of this machine that found a listener's queue full, so far; None where nothing tells."""
    table = Path("/proc/net/netstat")
    if not table.exists():
        return None
    lines = [line.split() for line in table.read_text().splitlines() if line.startswith("TcpExt:")]
    return int(dict(zip(*lines, strict=True))["ListenOverflows"])


async def crowd(port: int, count: int) -> None:
    """Keep so many clients busy for as long as this process lives; says now and then how it went."""
    counts = {"connected": 0, "sent_away": 0, "refused": 0}
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(loris(port, PACE_S * number / count, counts))
        while True:
            await asyncio.sleep(1)
            sys.stdout.write(json.dumps(counts) + "\n")
            sys.stdout.flush()


async def measure(port: int, pid: int, seconds: float) -> dict[str, Any]:
    """What a good client sees meanwhile, and what the service holds."""
    process = psutil.Process(pid)
    rss_before, cpu_before = process.memory_info().rss, sum(process.cpu_times()[:2])
    taken: list[tuple[float, float]] = []
    overflows, lag_s = queue_overflows(), 0.0
    failed = descriptors = rss = 0
    began_s = time.perf_counter()
    while time.perf_counter() < began_s + seconds:
        try:
            taken.append(await good_request(port))
        except (OSError, RuntimeError):
            failed += 1
        descriptors = max(descriptors, process.num_fds())
        rss = max(rss, process.memory_info().rss)
        slept_s = time.perf_counter()
        await asyncio.sleep(0.1)
        lag_s = max(lag_s, time.perf_counter() - slept_s - 0.1)
    totals = sorted(map(sum, taken)) or [math.nan]
    return {
        "good": len(taken),
        "good_failed": failed,
        "good_p50_s": round(statistics.median(totals), 4),
        "good_max_s": round(totals[-1], 4),
        "connect_max_s": round(max((connect for connect, _ in taken), default=math.nan), 4),
        "answer_max_s": round(max((answer for _, answer in taken), default=math.nan), 4),
        "queue_overflows": None if overflows is None else (queue_overflows() or 0) - overflows,
        "own_lag_max_s": round(lag_s, 4),
        "service_descriptors_max": descriptors,
        "service_rss_grew_mib": round((rss - rss_before) / 2**20, 1),
        "service_cpu_share": round((sum(process.cpu_times()[:2]) - cpu_before) / seconds, 2),
    }


def main() -> None:
    """Print what came of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--crowd-at", type=int, help="be the crowd at this port")
    args = parser.parse_args()
    if args.crowd_at:
        asyncio.run(crowd(args.crowd_at, args.count))
        return
    with tempfile.TemporaryDirectory() as folder:
        create_folders(home_at(Path(folder)))
        with started_service(Path(folder), "--openai", "127.0.0.1:0") as service:
            port = int(str(service.ready["openai"]).rpartition(":")[2])
            command = [sys.executable, "-m", "tests.bench.crowd", "--crowd-at", str(port), "--count"]
            with subprocess.Popen([*command, str(args.count)], stdout=subprocess.PIPE, text=True) as people:
                assert people.stdout is not None
                try:
                    people.stdout.readline()
                    done = asyncio.run(measure(port, service.process.pid, args.seconds))
                finally:
                    people.kill()
                    said = people.stdout.read().splitlines()
    sys.stdout.write(json.dumps({"count": args.count, **done, "crowd": json.loads(said[-1])}) + "\n")


if __name__ == "__main__":
    main()
