"""Scenarios: what must be seen to work on a running QEMU, each under a name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from patchgen.engine.series import Series
from patchgen.errors import SeriesError
from patchgen.live import scenarios

if TYPE_CHECKING:
    from patchgen.live.stage import Stage

_registry: dict[str, Scenario] = {}


@dataclass(frozen=True)
class Scenario:
    """One thing to be seen.

    :ivar name: unique, words joined by hyphens
    :ivar summary: what is seen when it passes, one line
    :ivar play: does it; raises :class:`~patchgen.live.waiting.Failed` or ``Skipped``
    :ivar kvm: whether it is worth a second run under KVM
    :ivar long: whether it takes minutes, and is run only when it is asked for by its whole name
    """

    name: str
    summary: str
    play: Callable[[Stage], None]
    kvm: bool = False
    long: bool = False


@dataclass(frozen=True)
class Promised:
    """A scenario and the patches whose ``[[promise]]`` asks for it.

    :ivar patches: (number of the patch, why it asks), at least one
    """

    scenario: Scenario
    patches: tuple[tuple[int, str], ...]

    @property
    def numbers(self) -> tuple[int, ...]:
        """The patches alone."""
        return tuple(number for number, _ in self.patches)

    @property
    def takes(self) -> int:
        """With how many patches it can be run: the last of those that ask for it."""
        return max(self.numbers)


def scenario(
    name: str, summary: str, *, kvm: bool = False, long: bool = False
) -> Callable[[Callable[[Stage], None]], Callable[[Stage], None]]:
    """Register a function as the scenario *name*."""

    def register(play: Callable[[Stage], None]) -> Callable[[Stage], None]:
        if name in _registry:
            raise ValueError(f"two scenarios are called {name}")
        _registry[name] = Scenario(name, summary, play, kvm, long)
        return play

    return register


def all_scenarios() -> dict[str, Scenario]:
    """Every scenario of the modules of :mod:`patchgen.live.scenarios`, by its name."""
    for module in pkgutil.iter_modules(scenarios.__path__):
        importlib.import_module(f"{scenarios.__name__}.{module.name}")
    return dict(_registry)


def promised(series: Series) -> tuple[Promised, ...]:
    """The scenarios that the patches of *series* ask for, each once, by the patches they take.

    Give the whole series: a scenario takes all patches that ask for it.

    :raise SeriesError: a patch asks for a scenario that does not exist
    """
    known = all_scenarios()
    wanted: dict[str, list[tuple[int, str]]] = {}
    for entry in series.entries:
        for promise in entry.patch.promise:
            if promise.scenario not in known:
                raise SeriesError(
                    f"patch {entry.number} promises {promise.scenario}, which is no scenario",
                    "`patchgen check --list` shows the scenarios",
                )
            wanted.setdefault(promise.scenario, []).append((entry.number, promise.why))
    asked = [Promised(one, tuple(wanted[name])) for name, one in known.items() if name in wanted]
    return tuple(sorted(asked, key=lambda one: one.takes))
