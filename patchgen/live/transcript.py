"""What a terminal showed, as the text that a person at it would have read."""

from __future__ import annotations

import pyte

COLUMNS = 200
_ROWS = 400


def rendered(raw: bytes) -> list[str]:
    """The lines on the screen after a terminal was sent *raw*, without trailing blanks.

    The emulator is pyte's; what QEMU's line editor prints to move the cursor is not guessed at.
    At most 400 lines are kept, the last ones.
    """
    screen = pyte.Screen(COLUMNS, _ROWS)
    # A program on a pseudo-terminal ends lines with CR LF, the kernel sees to that.
    pyte.ByteStream(screen).feed(raw)
    lines = [line.rstrip() for line in screen.display]
    while lines and not lines[-1]:
        lines.pop()
    return lines
