"""What a series file says: patches, edits and anchors as typed, immutable records.

The reference for writers of series files is docs/series-format.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec


class At(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An anchor: one kind, and what narrows it. Text is compared with white space squeezed.

    Kinds for C: ``function``, ``declaration``, ``struct``, ``enum``, ``macro``, ``include`` and,
    over a whole file, ``call``. Other kinds: ``preproc``, ``qapi``, ``hx``, ``trace``, ``make``,
    ``meson``, ``maintainers``, ``file`` (its ``start`` or ``end``) and ``text``, the explicit text
    form.
    """

    function: str | None = None
    declaration: str | None = None
    struct: str | None = None
    enum: str | None = None
    macro: str | None = None
    include: str | None = None
    preproc: str | None = None
    call: str | None = None
    qapi: str | None = None
    hx: str | None = None
    trace: str | None = None
    make: str | None = None
    meson: str | None = None
    maintainers: str | None = None
    file: str | None = None
    text: str | None = None
    # narrowing, in C
    parameter: str | None = None
    member: str | None = None
    enumerator: str | None = None
    entry: str | None = None
    field: str | None = None
    local: str | None = None
    assign: str | None = None
    return_: str | None = msgspec.field(default=None, name="return")
    statement: str | None = None
    label: str | None = None
    if_: str | None = msgspec.field(default=None, name="if")
    loop: str | None = None
    case: str | None = None
    argument: str | None = None
    arguments: dict[str, str] = {}
    inside: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    part: str | None = None
    checked: bool = False
    # narrowing, elsewhere
    holding: str | None = None

    @property
    def kind(self) -> str:
        """The anchor's kind, as the series file spells it."""
        for name in KINDS:
            if getattr(self, name) is not None:
                return name
        return ""

    @property
    def name(self) -> str:
        """The name looked for."""
        return getattr(self, self.kind, None) or "" if self.kind else ""

    @property
    def leaf(self) -> str:
        """What is looked for inside of the thing that :attr:`name` names; empty if it is itself."""
        parts = [self.member, self.enumerator, self.parameter, self.field, self.entry, self.local]
        parts += [self.assign, self.return_, self.statement, self.label]
        parts += [self.call if self.function else None, self.if_, self.loop, self.case]
        return next((part for part in (*parts, self.holding) if part is not None), "")

    @property
    def has_leaf(self) -> bool:
        """Whether a statement is named, not only the block that holds it."""
        leaves = (self.local, self.assign, self.return_, self.statement, self.label, self.call)
        return any(leaf is not None for leaf in leaves)

    @property
    def container(self) -> str:
        """The block that narrows the search, for messages."""
        if self.if_ is not None:
            return f"if ({self.if_})"
        return self.loop if self.loop is not None else f"case {self.case}"

    @property
    def in_body(self) -> bool:
        """Whether the anchor lies inside a function's body."""
        blocks = (self.if_, self.loop, self.case)
        return self.has_leaf or any(block is not None for block in blocks)

    def positions(self) -> Iterator[tuple[int, str]]:
        """(index, text) of the arguments that an invocation must have."""
        for index, text in self.arguments.items():
            yield int(index), text

    def __str__(self) -> str:
        parts = []
        for name, spelled in zip(
            self.__struct_fields__, self.__struct_encode_fields__, strict=True
        ):
            value = getattr(self, name)
            if value not in (None, False, (), {}):
                parts.append(f"{spelled} {_in_toml(value)}")
        return ", ".join(parts)


def _in_toml(value: str | bool | tuple[str, ...] | dict[str, str]) -> str:
    """A narrowing's value as a series file has it; one name or text goes without its quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{name} = {_quoted(text)}' for name, text in value.items())} }}"
    return f"[{', '.join(map(_quoted, value))}]"


def _quoted(text: str) -> str:
    return f"'{text}'" if '"' in text or "\\" in text else f'"{text}"'


KINDS = (
    "function",
    "declaration",
    "struct",
    "enum",
    "macro",
    "include",
    "preproc",
    "qapi",
    "hx",
    "trace",
    "make",
    "meson",
    "maintainers",
    "file",
    "text",
    "call",
)
C_KINDS = frozenset({"function", "declaration", "struct", "enum", "macro", "include", "call"})


class Insert(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where new text goes: beside the site, or inside it.

    ``first`` and ``last`` are the ends of its inside. A function also has ``local``, behind its
    leading declarations, and ``top``, before its first statement as a paragraph of its own.

    The value is the text, or ``@file`` for a fragment in the patch's template folder.
    """

    before: str | None = None
    after: str | None = None
    first: str | None = None
    last: str | None = None
    local: str | None = None
    top: str | None = None

    @property
    def place(self) -> str:
        """The one of :data:`PLACES` that is given."""
        return next(p for p in PLACES if getattr(self, p))


PLACES = ("before", "after", "first", "last", "local", "top")


class Files(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file known by what it holds, or several files that are edited alike.

    :ivar holding: kind and name, as in ``"function vm_stop"``
    :ivar among: with ``holding``: the paths to try before a search
    :ivar each: paths; the edit is made in all of them
    """

    holding: str = ""
    among: tuple[str, ...] = ()
    each: tuple[str, ...] = ()


class Wrap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Text put before and behind the site."""

    before: str
    after: str


class Edit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One edit of one file.

    :ivar why: one line for the reader
    :ivar file: path, the only one of several paths that exists, a file by what it holds, or
        several files
    :ivar when: condition over facts; the edit is left out where it does not hold
    :ivar count: ``1`` (default) or ``">= 1"``: how many sites the anchor has
    :ivar present: an anchor that, where it matches, says that this edit is already there
    """

    why: str
    file: str | tuple[str, ...] | Files
    at: At | None = None
    when: str | None = None
    insert: Insert | None = None
    replace: str | None = None
    remove: bool = False
    create: str | None = None
    wrap: Wrap | None = None
    count: str = "1"
    present: At | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that ``file`` names."""
        if isinstance(self.file, str):
            return (self.file,)
        return self.file.among + self.file.each if isinstance(self.file, Files) else self.file

    @property
    def verb(self) -> str:
        """``insert``, ``replace``, ``remove``, ``create`` or ``wrap``."""
        return next(v for v in VERBS if getattr(self, v))


VERBS = ("insert", "replace", "remove", "create", "wrap")


class Promise(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A check that this patch asks for; the one place where a check is asked for."""

    scenario: str
    why: str


class Patch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One patch of the series.

    :ivar subject: the cover letter's subject
    :ivar series_author: who wrote the patch of that subject in the original series
    :ivar message: the commit message's body
    :ivar checkpatch: accepted findings of checkpatch.pl, each with its reason
    """

    subject: str
    series_author: str
    message: str
    edit: tuple[Edit, ...] = ()
    promise: tuple[Promise, ...] = ()
    checkpatch: tuple[str, ...] = ()
