"""What travels through the control API about names that lead to models elsewhere."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RouteStep:
    """One model that a route leads to.

    Attributes:
        target: As the settings name it.
        where: "local", or the address of a server.
        passed_over: Its server failed again and again; it is tried every few seconds.
        answered_s: How long it took to answer a test; None when it was not tested or did not.
        problem: Why it could not answer now, and what to do; None when nothing is known against it.
    """

    target: str
    where: str
    passed_over: bool = False
    answered_s: float | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """A name that programs may ask for, and its steps in the order tried."""

    name: str
    steps: tuple[RouteStep, ...]


@dataclass(frozen=True, slots=True)
class RouteList:
    """All routes, and the servers whose models are offered as model@server."""

    routes: tuple[Route, ...]
    servers: tuple[str, ...] = ()
