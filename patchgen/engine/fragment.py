"""Fragments: jinja2 templates whose delimiters cannot occur in C, rendered with a tree's facts.

``@< expression >@`` prints, ``@% if … %@`` decides, ``@# … #@`` is a comment. A line that holds
only a decision or a comment vanishes with its newline.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from patchgen.errors import FragmentError

if TYPE_CHECKING:
    from jinja2 import Environment, Template

_MARKS = ("@<", "@%", "@#")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    # Imported late: most texts have no variant, and jinja2 costs 70 ms.
    from jinja2 import Environment, StrictUndefined

    return Environment(
        block_start_string="@%",
        block_end_string="%@",
        variable_start_string="@<",
        variable_end_string=">@",
        comment_start_string="@#",
        comment_end_string="#@",
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )


def warm_up() -> None:
    """Make the template engine now, where there is something to wait for anyway."""
    _environment()


_CODE = re.compile(r"@[<%](.*?)[>%]@", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_]\w*")


@lru_cache(maxsize=512)
def _compiled(template: str) -> tuple[Template, tuple[str, ...]]:
    """The template and the words in its code, of which some are names of values.

    Only these are looked up, so that facts stay lazy. jinja2's own search for names would parse
    and compile the template a second time.
    """
    words = {word for code in _CODE.findall(template) for word in _NAME.findall(code)}
    return _environment().from_string(template), tuple(sorted(words))


def render(template: str, values: Mapping[str, object], where: str) -> bytes:
    """The text of *template* as bytes.

    :param values: facts and captures, by name; a mapping may be lazy
    :param where: patch and edit, for messages
    :raise FragmentError: the template is malformed or uses a value that does not exist
    """
    if not any(mark in template for mark in _MARKS):
        return template.encode("utf-8")
    from jinja2 import TemplateError

    try:
        compiled, names = _compiled(template)
        known = {name: values[name] for name in names if name in values}
        return compiled.render(known).encode("utf-8", "surrogateescape")
    except TemplateError as exc:
        raise FragmentError(f"{where}: {exc.message}", "mend the fragment") from exc
