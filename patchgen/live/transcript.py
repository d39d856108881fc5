"""What a terminal showed, as the text that a person at it would have read."""

from __future__ import annotations

import pyte

COLUMNS = 200
_ROWS = 400


def rendered(raw: bytes, columns: int = COLUMNS) -> list[str]:
    """The lines on the screen after a terminal was sent *raw*, without trailing blanks.

    The emulator is pyte's; what QEMU's line editor prints to move the cursor is not guessed at.
    At most 400 lines are kept, the last ones.
    """
    screen = pyte.Screen(columns, _ROWS)
    # A program on a pseudo-terminal ends lines with CR LF, the kernel sees to that.
    pyte.ByteStream(screen).feed(raw)
    # Screen.display would look at every cell; only those that were written are in the buffer.
    lines = []
    for row in range(max(screen.buffer, default=-1) + 1):
        cells = screen.buffer[row]
        line = "".join(cells[column].data for column in range(max(cells, default=-1) + 1))
        lines.append(line.rstrip())
    while lines and not lines[-1]:
        lines.pop()
    return lines
