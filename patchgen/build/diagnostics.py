"""What compilers say: warnings in a form that two builds can be compared by, errors, log ends."""

from __future__ import annotations

import re
from collections.abc import Iterable

_WARNING = re.compile(r"^(?P<file>[^\s:]+):(?P<line>\d+):(?:\d+:)? warning: (?P<text>.*)$")
_ERROR = re.compile(
    r"^(?P<file>[^\s:]+):\d+:(?:\d+:)? (?:fatal )?error: |\bERROR: |^ERROR|: error: "
    r"|undefined reference to|^make(\[\d+\])?: \*\*\* |^collect2: |^FAILED: |^ninja: error:"
)
_UPWARD = re.compile(r"^(?:\.\./)+(?:src/)?")


def normal_path(path: str, source: str) -> str:
    """*path* as it is in the tree: no build directory, no absolute source directory."""
    if path.startswith(f"{source}/"):
        return path[len(source) + 1 :]
    return _UPWARD.sub("", path)


def warnings_of(lines: Iterable[str], source: str) -> tuple[str, ...]:
    """The compiler warnings, each once, as ``file: message``, without line numbers, sorted.

    :param source: absolute source directory as it may stand in messages
    """
    found = set()
    for line in lines:
        hit = _WARNING.match(line)
        if hit:
            found.add(f"{normal_path(hit['file'], source)}: {hit['text'].strip()}")
    return tuple(sorted(found))


def errors_of(lines: Iterable[str], limit: int = 10) -> tuple[str, ...]:
    """The first lines that report an error, at most *limit*."""
    found: list[str] = []
    for line in lines:
        if _ERROR.search(line) and line not in found:
            found.append(line)
            if len(found) == limit:
                break
    return tuple(found)


def error_files(lines: Iterable[str], source: str) -> tuple[str, ...]:
    """The files that the error lines name, as in the tree, in order."""
    found = []
    for line in lines:
        hit = _ERROR.match(line)
        if hit and hit["file"]:
            found.append(normal_path(hit["file"], source))
    return tuple(dict.fromkeys(found))


def failure_detail(lines: list[str], tail: int = 30) -> str:
    """What a user wants to see of a failed build: the first errors, then the end of the log."""
    errors = errors_of(lines)
    end = lines[-tail:]
    parts = []
    if errors and errors[0] not in end:
        parts += ["first errors:", *(f"  {line}" for line in errors), ""]
    parts += [f"last {len(end)} lines of the log:", *(f"  {line}" for line in end)]
    return "\n".join(parts)
