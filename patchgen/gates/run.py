"""All gates of an export, the quick ones first; the slow one only if they let it pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from patchgen.branch import BranchRecord
from patchgen.build.record import BuildOptions, EachRecord
from patchgen.build.subject import BuildSubject
from patchgen.commits import Credit
from patchgen.config import Config
from patchgen.engine.series import Series
from patchgen.errors import CompileFailed, PatchBroken, UsageError
from patchgen.gates.record import Finding, Gate, GateResult, GateState, judged
from patchgen.gates.scripts import Tell, check_checkpatch, find_maintainers
from patchgen.gates.texts import (
    check_dco,
    check_diffstat,
    check_subjects,
    check_tree,
    check_whitespace,
    messages,
)
from patchgen.git.repo import Repo
from patchgen.mails import Mail
from patchgen.source.resolve import Base
from patchgen.ui import Ui


def gates_off(words: Sequence[str]) -> frozenset[Gate]:
    """The gates that ``--no-gate`` names: names with commas between them, or ``all``.

    :raise UsageError: there is no gate of that name
    """
    names = [name.strip() for word in words for name in word.split(",")]
    if "all" in names:
        return frozenset(Gate)
    known = {gate.value: gate for gate in Gate}
    for name in names:
        if name not in known:
            raise UsageError(
                f"--no-gate {name or repr(name)}: there is no such gate",
                f"the gates are {', '.join(known)}; all names all of them",
            )
    return frozenset(known[name] for name in names)


@dataclass(frozen=True)
class Checked:
    """What is checked.

    :ivar scratch: a scratch repository that sees the commits
    """

    base: Base
    record: BranchRecord
    series: Series
    scratch: Repo
    credit: Credit
    off: frozenset[Gate]


def with_maintainers(what: Checked, mails: list[Mail], ui: Ui) -> tuple[GateResult, list[Mail]]:
    """The mails with a Cc to those whom the tag's get_maintainer.pl names; first, as mails change.

    :raise GateUnavailable: the script cannot be run here
    """
    if Gate.MAINTAINERS in what.off:
        return GateResult(Gate.MAINTAINERS, GateState.OFF), mails
    with ui.progress("maintainers", 1) as meter:
        tell: Tell = lambda share, note: meter.update(share, 1, note)  # noqa: E731
        return find_maintainers(what.scratch, what.record.head, mails, tell)


def quick_gates(what: Checked, mails: Sequence[Mail], ui: Ui) -> list[GateResult]:
    """The results of the gates that take seconds, in the order of :class:`Gate`.

    :raise GateUnavailable: a script cannot be run here
    """
    repo, record = what.scratch, what.record
    texts = messages(repo, record)
    whole = repo.git(
        "-c", "core.attributesFile=/dev/null", "diff", "--no-color", "--no-ext-diff",
        "--no-textconv", "-M", "--src-prefix=a/", "--dst-prefix=b/", record.base, record.head,
    ).stdout.decode("latin-1")  # fmt: skip
    accepted = {entry.number: entry.patch.checkpatch for entry in what.series.entries}
    with ui.progress("checkpatch", 1) as meter:
        tell: Tell = lambda share, note: meter.update(share, 1, note)  # noqa: E731
        gates: dict[Gate, Callable[[], GateResult]] = {
            Gate.SUBJECT: lambda: check_subjects(texts),
            Gate.WHITESPACE: lambda: check_whitespace(texts, mails),
            Gate.DCO: lambda: check_dco(texts, what.base.repo.identity(), what.credit),
            Gate.DIFFSTAT: lambda: check_diffstat(mails, whole),
            Gate.TREE: lambda: check_tree(repo, record, mails),
            Gate.CHECKPATCH: lambda: check_checkpatch(repo, record.base, mails, accepted, tell),
        }
        return [
            GateResult(gate, GateState.OFF) if gate in what.off else check()
            for gate, check in gates.items()
        ]


def compile_gate(
    what: Checked, subject: BuildSubject, options: BuildOptions, config: Config, ui: Ui
) -> GateResult:
    """Every commit compiles, as ``patchgen build --each`` tries it; its results are kept by tree.

    :raise BuildError: it cannot be tried: a tool or a library is missing, or the base fails
    """
    if Gate.COMPILE in what.off:
        return GateResult(Gate.COMPILE, GateState.OFF)
    from patchgen.build.each import build_each

    ui.step(f"gate compile: {len(subject.patches)} commits; what was compiled before is not again")
    try:
        record: EachRecord = build_each(subject, options, config, ui)
    except PatchBroken as exc:
        return judged(Gate.COMPILE, "", (Finding(0, exc.message),))
    except CompileFailed as exc:
        raise CompileFailed(
            exc.message, f"{exc.fix}; or name the gate off with --no-gate compile", exc.detail
        ) from exc
    cached = sum(one.state == "cached" for one in record.commits)
    return judged(Gate.COMPILE, f"{len(record.commits)} commits, {cached} of them known")
