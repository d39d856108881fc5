"""Numbers that follow each other, for people: ``1 to 9``, ``v6.0.0 … v7.2.0``."""

from __future__ import annotations

from collections.abc import Iterable


def runs(numbers: Iterable[int]) -> list[list[int]]:
    """*numbers*, in their order, cut wherever one is not the next of the one before."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return found
