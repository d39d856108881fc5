"""Facts: what a tree is, probed from the tree itself and never from a tag's name.

The probes are data, ``series/facts.toml``: a fact is a name and a list of cases, of which the
first that holds gives the value. Facts that are computed (the release that comes next) are here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

import msgspec

from patchgen.engine.site import DriftKind, Miss
from patchgen.engine.tree import Tree
from patchgen.errors import FactError


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One case of a fact: the file exists, and holds ``contains`` or matches ``matches``.

    A case without ``file`` always holds: the last resort.
    """

    value: str
    file: str | None = None
    contains: str | None = None
    matches: str | None = None

    def holds(self, tree: Tree) -> bool:
        """Whether the case describes the tree."""
        if self.file is None:
            return True
        data = tree.read(self.file)
        if data is None:
            return False
        if self.contains is not None:
            return self.contains.encode() in data
        if self.matches is not None:
            return re.search(self.matches.encode(), data, re.MULTILINE) is not None
        return True


class Fact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A named probe.

    :ivar why: what depends on it
    :ivar case: cases, first match wins
    """

    why: str
    case: tuple[Case, ...]


def next_release(version: str) -> str:
    """The release that follows *version*: ``5.1.0`` -> ``5.2``, ``5.2.0`` -> ``6.0``.

    QEMU has had three releases a year since 4.0, numbered x.0, x.1 and x.2; a development
    snapshot (x.y.50 to x.y.99) is on its way to the same next release.
    """
    numbers = [int(part) for part in re.findall(r"\d+", version)[:2]]
    major, minor = [*numbers, 0, 0][:2]
    return f"{major}.{minor + 1}" if minor < 2 else f"{major + 1}.0"


class Facts(Mapping[str, object]):
    """The facts of one tree, each probed when it is first asked for.

    Probing looks at the *base* tree, so that no patch changes a fact for the next.
    """

    def __init__(self, tree: Tree, probes: Mapping[str, Fact]) -> None:
        self._tree = Tree(tree.base)
        self._probes = probes
        self._known: dict[str, object] = {}

    def __getitem__(self, name: str) -> object:
        if name not in self._known:
            self._known[name] = self._probe(name)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        yield from ("version", "next_release", *self._probes)

    def __len__(self) -> int:
        return 2 + len(self._probes)

    def _probe(self, name: str) -> object:
        if name in ("version", "next_release"):
            version = (self._tree.read("VERSION") or b"").decode("ascii", "replace").strip()
            return version if name == "version" else next_release(version)
        probe = self._probes.get(name)
        if probe is None:
            raise KeyError(name)
        for case in probe.case:
            if case.holds(self._tree):
                return case.value
        raise Miss(DriftKind.UNKNOWN_FACT, f"no case of the fact {name} describes this tree")

    def holds(self, condition: str) -> bool:
        """The truth of a condition such as ``hx_markup == 'rst' and build != 'make'``.

        :raise FactError: it is malformed or names a fact that does not exist
        :raise Miss: a fact it needs has no case for this tree
        """
        try:
            return bool(self._value(ast.parse(condition, mode="eval").body))
        except (SyntaxError, TypeError, _Unfit) as exc:
            raise FactError(
                f"the condition {condition!r} cannot be understood: {exc}",
                "conditions compare facts with words: ==, !=, in, and, or, not",
            ) from exc
        except KeyError as exc:
            raise FactError(
                f"the condition {condition!r} names the unknown fact {exc.args[0]!r}",
                "facts are declared in series/facts.toml",
            ) from exc

    def _value(self, node: ast.expr) -> object:
        if isinstance(node, ast.BoolOp):
            values = (bool(self._value(part)) for part in node.values)
            return all(values) if isinstance(node.op, ast.And) else any(values)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return not self._value(node.operand)
        if isinstance(node, ast.Name):
            return self[node.id]
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        if isinstance(node, ast.Tuple | ast.List):
            return [self._value(part) for part in node.elts]
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            left, right = self._value(node.left), self._value(node.comparators[0])
            match node.ops[0]:
                case ast.Eq():
                    return left == right
                case ast.NotEq():
                    return left != right
                case ast.In() if isinstance(right, list):
                    return left in right
                case ast.NotIn() if isinstance(right, list):
                    return left not in right
        raise _Unfit(f"{ast.unparse(node)} is not allowed")


class _Unfit(Exception):
    """A construct that conditions do not have."""
