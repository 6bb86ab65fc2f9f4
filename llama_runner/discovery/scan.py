"""One scan: connects first, then probes what is open. Its results stand as soon as they are known."""

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import Final

from llama_runner.core.clock import Clock, seconds
from llama_runner.core.topic import Topic
from llama_runner.discovery.examiner import Examiner, Rejected
from llama_runner.discovery.networks import ScanPlan
from llama_runner.discovery.registry import ServerRecord, ServerRegistry, ServerSource, ServerStatus
from llama_runner.discovery.scanner import Address, addresses_of, open_addresses

log = logging.getLogger(__name__)

# Servers probed at once: each gets up to a handful of requests.
MAX_PROBES: Final = 32
# Progress is told about this often per phase: a view needs no more.
PROGRESS_STEPS: Final = 50


@dataclass(frozen=True, slots=True)
class ScanProgress:
    """How far a scan is.

    Attributes:
        phase: "connect", then "probe", then "done".
        total: Of the present phase.
    """

    phase: str
    done: int
    total: int
    found: int


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What a scan did.

    Attributes:
        probed: Host-port pairs looked at.
        rejected: Open ports that are not listed, with the reason.
        stopped: It was ended early; what was found until then is here.
    """

    probed: int
    elapsed_s: float
    found: tuple[ServerRecord, ...]
    rejected: tuple[Rejected, ...] = ()
    stopped: bool = False


class Scan:
    """Runs once.

    Attributes:
        tried: Addresses that were looked at so far.
        found: Servers found so far, in the order of the addresses once it has ended.
        rejected: Open ports that are no model server.
    """

    def __init__(
        self,
        *,
        plan: ScanPlan,
        examiner: Examiner,
        registry: ServerRegistry,
        clock: Clock,
        progress: Topic[ScanProgress],
    ) -> None:
        self.tried = 0
        self.found: list[ServerRecord] = []
        self.rejected: list[Rejected] = []
        self._plan = plan
        self._addresses = addresses_of(plan.hosts, plan.ports)
        self._clock = clock
        self._started_ns = clock.now_ns()
        self._examiner = examiner
        self._registry = registry
        self._progress = progress
        self._open: list[Address] = []

    async def run(self) -> None:
        """Look at every address."""
        plan = self._plan
        log.info(
            "scan started networks=%s hosts=%d ports=%s browse=%s",
            ",".join(plan.networks) or "none",
            len(plan.hosts),
            ",".join(map(str, plan.ports)),
            plan.browse,
        )
        await open_addresses(self._addresses, timeout_s=plan.connect_timeout_s, on_done=self._connected)
        waiting = iter(self._open)

        async def worker() -> None:
            for address in waiting:
                await self._probe(address)

        async with asyncio.TaskGroup() as group:
            for number in range(min(MAX_PROBES, len(self._open))):
                group.create_task(worker(), name=f"probe {number}")
        order = {address.base_url: place for place, address in enumerate(self._addresses)}
        self.found.sort(key=lambda record: order[record.base_url])
        self.rejected.sort(key=lambda rejected: order[rejected.url])

    def report(self, *, stopped: bool) -> ScanReport:
        """What it did until now; logged, as this is its end."""
        elapsed_s = seconds(self._clock.now_ns(), self._started_ns)
        log.info("scan ended probed=%d found=%d elapsed_s=%.2f", self.tried, len(self.found), elapsed_s)
        return ScanReport(self.tried, elapsed_s, tuple(self.found), tuple(self.rejected), stopped)

    def tell_end(self) -> None:
        """The last progress, whatever ended it."""
        self._progress.publish(ScanProgress("done", self.tried, len(self._addresses), len(self.found)))

    def _connected(self, address: Address, is_open: bool) -> None:
        self.tried += 1
        if is_open:
            self._open.append(address)
        else:
            self._lost(address)
        self._tell("connect", self.tried, len(self._addresses))

    def _lost(self, address: Address) -> None:
        """A server that was found here earlier is offline."""
        known = self._registry.at(address.base_url)
        if known is not None and known.source is not ServerSource.SERVICE:
            problem = f"Nothing listens at {known.address}."
            self._registry.upsert(
                replace(known, status=ServerStatus.OFFLINE, latency_s=None, problem=problem)
            )

    async def _probe(self, address: Address) -> None:
        result = await self._examiner.identify(address.base_url)
        if isinstance(result, Rejected):
            self.rejected.append(result)
        else:
            self._registry.upsert(result)
            self.found.append(result)
        self._tell("probe", len(self.found) + len(self.rejected), len(self._open))

    def _tell(self, phase: str, done: int, total: int) -> None:
        if done == total or done % max(1, total // PROGRESS_STEPS) == 0:
            self._progress.publish(ScanProgress(phase, done, total, len(self.found)))
