"""Pictures of what was measured and shown, as SVG; nothing in them is from elsewhere."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from importlib import resources

import jinja2

from patchgen.live.figures import PHASES, Measured, Round

_SIZE = 13
_CELL, _LINE, _EDGE = 0.6 * _SIZE, 18, 14
_TYPED, _QUIET = "#7ee787", "#8b949e"

_LEFT, _PLOT, _RIGHT, _ROW, _TOP = 190, 480, 190, 44, 40
_FILLS = ("#8250df", "#0969da", "#1a7f37", "#9a6700", "#cf222e")


def _drawn(name: str, **values: object) -> str:
    text = resources.files("patchgen.live.pictures").joinpath(name).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(text).render(values) + "\n"


def terminal(title: str, lines: Sequence[str]) -> str:
    """A picture of text as on a terminal; what begins with a ``# `` or ``(qemu) `` was typed.

    Words that several blanks keep apart are placed by themselves, so nothing depends on blanks.
    """
    rows = []
    for number, line in enumerate(lines):
        for part in re.finditer(r"\||[^\s|]+(?: [^\s|]+)*", line):
            text = part[0]
            # A greeting may stand behind the prompt of the QEMU before.
            typed = re.match(r"# |\(qemu\) (?!QEMU )", text)
            fill = _TYPED if typed else _QUIET if number == 0 or text == "|" else ""
            rows.append(
                {
                    "text": text,
                    "x": f"{_EDGE + _CELL * part.start():.1f}",
                    "y": _EDGE + _LINE * number + _SIZE,
                    "fill": fill,
                    "length": f"{_CELL * len(text):.1f}",
                }
            )
    width = 2 * _EDGE + math.ceil(_CELL * max((len(line) for line in lines), default=0))
    height = 2 * _EDGE + _LINE * len(lines)
    return _drawn(
        "terminal.svg.j2", title=title, width=width, height=height, size=_SIZE, lines=rows
    )


def scale(most: float) -> tuple[float, list[float]]:
    """The end of an axis that *most* (above 0) is on, and its ticks from 0 on: 1, 2 or 5 times
    a power of ten apart."""
    power = 10.0 ** math.floor(math.log10(most))
    step = next(one * power for one in (0.2, 0.5, 1, 2) if most <= 6 * one * power)
    count = math.ceil(most / step)
    return count * step, [number * step for number in range(count + 1)]


def plot(title: str, kinds: Sequence[tuple[Measured, Sequence[Round]]]) -> str:
    """A picture of pauses: a dot for each round, p50 as a thick mark, p95 as a thin one.

    Below a row are its phases, each as long as its p50.

    :param kinds: at least one, each with its rounds
    """
    end, ticks = scale(max(0.001, *(one.pause.max for one, _ in kinds)))

    def at(ms: float) -> float:
        return round(_LEFT + _PLOT * ms / end, 1)

    rows, some = [], False
    for number, (one, rounds) in enumerate(kinds):
        bars, begin = [], 0.0
        for phase, fill in zip(one.phases, _FILLS, strict=False):
            ms = phase.spread.p50
            width = round(_PLOT * ms / end, 1)
            said = f"{phase.name}: {ms:.1f} ms"
            bars.append({"x": at(begin), "width": width, "fill": fill, "said": said})
            begin += ms
        some = some or bool(bars)
        spread = one.pause
        rows.append(
            {
                "name": one.name,
                "y": _TOP + 18 + _ROW * number,
                "dots": [at(round_.pause) for round_ in rounds],
                "marks": [{"x": at(spread.p50), "stroke": 3}, {"x": at(spread.p95), "stroke": 1}],
                "said": f"p50 {spread.p50:.1f}  p95 {spread.p95:.1f}  n {spread.n}",
                "bars": bars,
            }
        )
    bottom = _TOP + _ROW * len(kinds)
    names = zip(PHASES, _FILLS, strict=True) if some else ()
    legend = [
        {"name": name, "fill": fill, "x": _LEFT + 90 * number}
        for number, (name, fill) in enumerate(names)
    ]
    return _drawn(
        "plot.svg.j2",
        title=title,
        width=_LEFT + _PLOT + _RIGHT,
        height=bottom + 60,
        left=_LEFT,
        right=_LEFT + _PLOT,
        top=_TOP,
        bottom=bottom,
        rows=rows,
        ticks=[{"x": at(one), "label": f"{one:g}"} for one in ticks],
        legend=legend,
    )
