"""One scan: connects, and questions to what is open meanwhile. Results stand as soon as they are known."""

import asyncio
import ipaddress
import logging
from dataclasses import dataclass, replace
from typing import Final

from llama_runner.core.clock import Clock, seconds
from llama_runner.core.topic import Topic
from llama_runner.discovery.browse import BROWSE_S, Offer, browse
from llama_runner.discovery.examiner import Examiner, Rejected
from llama_runner.discovery.networks import (
    ScanPlan,
    interfaces_in,
    is_address,
    is_loopback_host,
    is_within,
)
from llama_runner.discovery.products import OWN
from llama_runner.discovery.registry import ServerRecord, ServerRegistry, ServerSource, ServerStatus
from llama_runner.discovery.scanner import Address, addresses_of, knock_all
from llama_runner.net.addresses import host_of, port_of
from llama_runner.net.connect import ConnectBudget, Knock
from llama_runner.net.resolver import resolve_once
from llama_runner.system.interfaces import InterfaceAddress, interface_addresses

log = logging.getLogger(__name__)

# Servers probed at once: each gets up to a handful of requests at a time.
MAX_PROBES: Final = 32
# Progress is told about this often per phase: a view needs no more.
PROGRESS_STEPS: Final = 50
# A name that is not found by then would hold up everything else.
RESOLVE_S: Final = 2.0
_LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class ScanProgress:
    """How far a scan is.

    Attributes:
        phase: "connect" while addresses are tried, then "probe" while open ones are asked, then "done".
        total: Of the present phase; grows with what is found on the way.
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
        problems: What could not be looked at, and why; sentences.
    """

    probed: int
    elapsed_s: float
    found: tuple[ServerRecord, ...]
    rejected: tuple[Rejected, ...] = ()
    stopped: bool = False
    problems: tuple[str, ...] = ()


class Scan:
    """Runs once.

    Args:
        browse_s: How long the networks are listened to, where the plan says so.
    """

    def __init__(
        self,
        *,
        plan: ScanPlan,
        examiner: Examiner,
        registry: ServerRegistry,
        clock: Clock,
        progress: Topic[ScanProgress],
        browse_s: float = BROWSE_S,
    ) -> None:
        self._plan = plan
        self._examiner = examiner
        self._registry = registry
        self._clock = clock
        self._progress = progress
        self._browse_s = browse_s
        self._budget = ConnectBudget(clock)
        self._own: tuple[InterfaceAddress, ...] = ()
        self._own_hosts: frozenset[str] = frozenset()
        self._started_ns = clock.now_ns()
        self._hosts = {host: place for place, host in enumerate(plan.hosts)}
        self._ports = {port: place for place, port in enumerate(plan.ports)}
        self._total = plan.connects
        self._tried = self._unreachable = 0
        self._asked = self._to_ask = 0
        self._open: asyncio.Queue[Address | None] = asyncio.Queue()
        self._held_back: list[Address] = []
        self._found: list[ServerRecord] = []
        self._rejected: list[Rejected] = []
        self._problems: list[str] = []

    async def run(self) -> None:
        """Look at every address of the plan."""
        plan = self._plan
        log.info(
            "scan started networks=%s hosts=%d ports=%s browse=%s",
            ",".join(plan.networks) or "none",
            len(plan.hosts),
            ",".join(map(str, plan.ports)),
            plan.browse,
        )
        # Windows takes its time to say.
        self._own = await asyncio.to_thread(interface_addresses)
        self._own_hosts = frozenset(entry.address for entry in self._own) - {_LOOPBACK}
        async with asyncio.TaskGroup() as asking:
            for number in range(MAX_PROBES):
                asking.create_task(self._ask_what_is_open(), name=f"probe {number}")
            async with asyncio.TaskGroup() as looking:
                looking.create_task(self._knock(), name="knock")
                if plan.browse:
                    looking.create_task(self._browse(), name="browse")
            await self._open.join()
            for address in self._held_back:
                self._open.put_nowait(address)
            for _ in range(MAX_PROBES):
                self._open.put_nowait(None)

    def report(self, *, stopped: bool) -> ScanReport:
        """What it did until now; logged, as this is its end."""
        elapsed_s = seconds(self._clock.now_ns(), self._started_ns)
        log.info("scan ended probed=%d found=%d elapsed_s=%.2f", self._tried, len(self._found), elapsed_s)
        problems = list(self._problems)
        if self._unreachable:
            problems.append(
                f"{self._unreachable:,} of {self._tried:,} ports could not be asked: no way leads there."
            )
        return ScanReport(
            self._tried,
            elapsed_s,
            tuple(sorted(self._found, key=lambda record: self._place(record.base_url))),
            tuple(sorted(self._rejected, key=lambda rejected: self._place(rejected.url))),
            stopped,
            tuple(problems),
        )

    def _place(self, base_url: str) -> tuple[int, int]:
        """Where it stands in the plan; behind it what was found otherwise."""
        last = len(self._hosts) + len(self._ports)
        return self._hosts.get(host_of(base_url), last), self._ports.get(port_of(base_url), last)

    def tell_end(self) -> None:
        """The last progress, whatever ended it."""
        self._progress.publish(ScanProgress("done", self._tried, self._total, len(self._found)))

    # --- which addresses are open -------------------------------------------------------------------------

    async def _knock(self) -> None:
        hosts = await self._resolved()
        count = len(hosts) * len(self._plan.ports)
        self._total += count - self._plan.connects
        await knock_all(
            addresses_of(hosts, self._plan.ports),
            workers=count,
            timeout_s=self._plan.connect_timeout_s,
            budget=self._budget,
            on_done=self._knocked,
        )

    async def _resolved(self) -> list[tuple[str, str]]:
        """Every host with its address. A name is asked once: what it says later does not count (D12)."""
        avoided = [ipaddress.ip_network(text) for text in self._plan.avoided]
        names = [host for host in self._plan.hosts if not is_address(host)]
        found = await asyncio.gather(*(resolve_once(host, RESOLVE_S) for host in names))
        # A server that listens on one of two families listens on IPv4.
        ips = {
            host: next((ip for ip in addresses if ":" not in ip), addresses[0])
            for host, addresses in zip(names, found, strict=True)
            if addresses
        }
        for host in names:
            if host not in ips:
                self._problems.append(f"The name {host} cannot be found.")
            elif is_within(ips[host], avoided):
                self._problems.append(f"{host} is among the addresses that are never scanned.")
                del ips[host]
        left_out = set(names) - set(ips)
        return [(host, ips.get(host, host)) for host in self._plan.hosts if host not in left_out]

    def _knocked(self, address: Address, knock: Knock) -> None:
        self._tried += 1
        # A machine without IPv6 has no ::1, and nobody misses it.
        self._unreachable += knock is Knock.UNREACHABLE and not is_loopback_host(address.ip)
        if knock is Knock.OPEN:
            self._opened(address)
        else:
            self._lost(address, knock)
        self._tell(self._tried, self._total)

    def _opened(self, address: Address) -> None:
        self._to_ask += 1
        if address.host in self._own_hosts:
            # Asked last: most likely it is what this machine's first address has already shown.
            self._held_back.append(address)
        else:
            self._open.put_nowait(address)

    def _lost(self, address: Address, knock: Knock) -> None:
        """A server that was found here earlier is offline."""
        known = self._registry.at(address.base_url)
        if known is None or known.source is ServerSource.SERVICE:
            return
        why = {
            Knock.CLOSED: f"Nothing listens at {known.address}.",
            Knock.SILENT: f"{known.address} does not answer.",
        }
        problem = why.get(knock, f"This machine has no way to {known.address}.")
        self._registry.upsert(
            replace(
                known,
                status=ServerStatus.OFFLINE,
                latency_s=None,
                problem=problem,
                checked_utc=self._clock.utc(),
            )
        )

    # --- mDNS ---------------------------------------------------------------------------------------------

    async def _browse(self) -> None:
        """What the machines of the networks say they offer, on ports that nobody would look at."""
        seen: set[tuple[str, int]] = set()
        networks = [ipaddress.ip_network(text) for text in self._plan.networks]
        avoided = [ipaddress.ip_network(text) for text in self._plan.avoided]
        async with asyncio.TaskGroup() as group:

            def offered(offer: Offer) -> None:
                place = (offer.host, offer.port)
                planned = offer.port in self._plan.ports and offer.host in self._plan.hosts
                if planned or place in seen or is_within(offer.host, avoided):
                    return
                if is_within(offer.host, networks):
                    seen.add(place)
                    self._total += 1
                    group.create_task(self._knock_offered(Address(offer.host, offer.port, offer.host)))

            problem = await browse(
                interfaces_in(networks, self._own), seconds=self._browse_s, on_offer=offered
            )
            if problem:
                self._problems.append(problem)

    async def _knock_offered(self, address: Address) -> None:
        timeout_s = self._plan.connect_timeout_s
        await knock_all(
            (address,), workers=1, timeout_s=timeout_s, budget=self._budget, on_done=self._knocked
        )

    # --- what is behind them ------------------------------------------------------------------------------

    async def _ask_what_is_open(self) -> None:
        while (address := await self._open.get()) is not None:
            await self._ask(address)
            self._open.task_done()

    async def _ask(self, address: Address) -> None:
        result = await self._examiner.identify(address.base_url, self._budget)
        self._asked += 1
        if isinstance(result, Rejected):
            self._rejected.append(result)
        elif result.product == OWN and self._is_here(address) and self._registry.get(result.id) is None:
            self._rejected.append(Rejected(address.base_url, "It is Llama Runner itself."))
        elif not self._is_known_by_another_address(address, result):
            self._registry.upsert(result)
            self._found.append(result)
        if self._tried == self._total:
            self._tell(self._asked, self._to_ask, phase="probe")
        else:
            self._tell(self._tried, self._total)

    def _is_here(self, address: Address) -> bool:
        return is_loopback_host(address.ip) or address.ip in self._own_hosts

    def _is_known_by_another_address(self, address: Address, record: ServerRecord) -> bool:
        """Whether a new find is a server of this machine that is listed as 127.0.0.1 already."""
        if address.host not in self._own_hosts or self._registry.get(record.id) is not None:
            return False
        twin = self._registry.at(Address(_LOOPBACK, address.port, _LOOPBACK).base_url)
        if twin is None or twin.status is not record.status:
            return False
        what = (record.product, record.version, [model.id for model in record.models])
        return what == (twin.product, twin.version, [model.id for model in twin.models])

    def _tell(self, done: int, total: int, phase: str = "connect") -> None:
        last = self._progress.latest
        more = last is None or last.found != len(self._found)
        if more or done == total or done % max(1, total // PROGRESS_STEPS) == 0:
            self._progress.publish(ScanProgress(phase, done, total, len(self._found)))
