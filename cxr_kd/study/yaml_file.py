"""Read a study's YAML file, safely, and say what is wrong with it: file, line, key, and what is allowed.

Of YAML 1.2, a study needs mappings, lists, text, numbers, true, false and null. Everything else is refused, because it
either hides a mistake or can exhaust memory: anchors and aliases, tags, keys that are not text, deep nesting, large
files. Numbers are written as in JSON. `010`, `0x10`, `1_000`, `1:30`, `.inf` and dates are text, and so are `yes`,
`no`, `on` and `off`; a setting that is a number or a truth value then refuses them with their line.
"""

import difflib
import math
import os
import re
import reprlib
import unicodedata
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel

from cxr_kd.errors import StudyError

LARGEST_FILE = 100_000  # bytes; the longest shipped study has 6,000
DEEPEST = 20  # levels of nesting; a study needs 4
_NULL, _BOOL, _INT, _FLOAT = (f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float"))
_TRUTHS = ("yes", "no", "on", "off")


class _Yaml(yaml.SafeLoader):
    """A YAML parser that resolves numbers as JSON does and refuses what a study does not need."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()
        place = f"{self.name}:{event.start_mark.line + 1}"
        if event.anchor:
            raise StudyError(f"{place}: anchors (&) and aliases (*) are not allowed: write the value out")
        if getattr(event, "tag", None):
            raise StudyError(f"{place}: tags (!) are not allowed: put text in quotation marks")
        if self.depth >= DEEPEST:
            raise StudyError(f"{place}: nested more than {DEEPEST} levels deep")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_Yaml.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    (_NULL, r"^(~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    (_BOOL, r"^(true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    (_INT, r"^[-+]?(0|[1-9][0-9]*)$", list("-+0123456789")),
    (_FLOAT, r"^[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?$", list("-+.0123456789")),
):
    _Yaml.add_implicit_resolver(_tag, re.compile(_pattern), _first)


def read_yaml(file: Path) -> tuple[dict[str, Any], yaml.Node]:
    """Return a YAML file's content and its tree, which knows the lines.

    Raises StudyError, with the line where there is one, for a file that cannot be read, is too large, is not YAML, or
    is not a mapping.
    """
    loader = _Yaml(_text(file))
    loader.name = str(file)
    try:
        tree = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise StudyError(f"{file}:{line}: not readable as YAML: {error.problem}") from None
    except (ValueError, OverflowError) as error:  # an escape such as "\UFFFFFFFF"
        raise StudyError(f"{file}:{loader.line + 1}: not readable as YAML: {error}") from None
    if not isinstance(tree, yaml.MappingNode):
        raise StudyError(f"{file}: a study is a mapping of settings, such as 'title: ...'")
    content = _content(file, tree, "")
    if "file" in content:
        raise StudyError(f"{file}:{_line(tree, ['file'])}: unknown key 'file'")
    return content, tree


def _text(file: Path) -> str:
    """Return the file's text; StudyError if it is no ordinary file, too large, not UTF-8, or has control characters."""
    if os.path.exists(file) and not os.path.isfile(file):
        raise StudyError(f"{file}: not a file that can be read")  # a pipe would be waited for without end
    try:
        with file.open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise StudyError(f"{file}: larger than {LARGEST_FILE:,} bytes; is it a study file?")
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise StudyError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise StudyError(f"{file}:{line}: not UTF-8 (byte {content[error.start]:#04x}): save it as UTF-8") from None
    for number, written in enumerate(text.split("\n"), 1):
        if why := _unprintable(written.removesuffix("\r")):
            raise StudyError(f"{file}:{number}: {why}")
    return text


def _unprintable(text: str) -> str | None:
    """Name the first control character in a text, or None."""
    found = next((each for each in text if unicodedata.category(each) in ("Cc", "Cs") and each not in "\n\t"), None)
    return f"the control character U+{ord(found):04X} is not allowed" if found else None


def _content(file: Path, node: yaml.Node, key: str) -> Any:
    """Return what a node of the tree says: a dict, a list, text, a number, a bool or None."""
    if isinstance(node, yaml.SequenceNode):
        return [_content(file, each, f"{key}.{number}") for number, each in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return _scalar(file, node, key)
    content: dict[str, Any] = {}
    for name, value in node.value:
        place = f"{file}:{name.start_mark.line + 1}: {f'{key}: ' if key else ''}"
        if not isinstance(name, yaml.ScalarNode):
            raise StudyError(f"{place}a key must be text, not a {name.id}")
        if name.tag in (_NULL, _BOOL, _INT, _FLOAT):
            raise StudyError(f"{place}a key must be text: put {name.value or 'it'} in quotation marks")
        if name.value in content:
            raise StudyError(f"{place}{name.value} is given twice: keep one")
        content[name.value] = _content(file, value, f"{key}.{name.value}" if key else name.value)
    return content


def _scalar(file: Path, node: yaml.Node, key: str) -> Any:
    written, place = node.value, f"{file}:{node.start_mark.line + 1}: {key}: "
    if node.tag == _NULL:
        return None
    if node.tag == _BOOL:
        return written.lower() == "true"
    if node.tag == _INT:
        if len(written) > 20 or not -(2**63) <= int(written) < 2**63:
            raise StudyError(f"{place}the number {reprlib.repr(written)} is too large; text needs quotation marks")
        return int(written)
    if node.tag == _FLOAT:
        if not math.isfinite(float(written)):
            raise StudyError(f"{place}the number {reprlib.repr(written)} is too large; text needs quotation marks")
        return float(written)
    if why := _unprintable(written):
        raise StudyError(place + why)
    return written


def explain(file: Path, tree: yaml.Node, problem: Any, model: type[BaseModel]) -> str:
    """Return one problem that pydantic found, in words: file, line, key, what is wrong, what is allowed."""
    path = [part for part in problem["loc"] if part != "[key]"]
    key, message = ".".join(map(str, path)), problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        allowed = _keys_at(model, path[:-1])
        close = difflib.get_close_matches(str(path[-1]), allowed, n=1)
        message = (
            f"unknown key{f'; did you mean {close[0]!r}?' if close else '.'} Allowed: {', '.join(sorted(allowed))}"
        )
    elif problem["type"] not in ("missing", "value_error"):
        given = problem["input"]
        message += f", not {'a mapping' if isinstance(given, dict) else reprlib.repr(given)}"
        if given in _TRUTHS:
            message += ": write true or false"
    return f"{file}:{_line(tree, path)}: {key or 'study'}: {message}"


def _line(node: yaml.Node, path: list[Any]) -> int:
    """Return the line of the deepest key of `path` that is in the file."""
    line = node.start_mark.line + 1
    for part in path:
        found = None
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            found = (node.value[part], node.value[part])
        if not found:
            return line
        line, node = found[0].start_mark.line + 1, found[1]
    return line


def _keys_at(model: Any, path: list[Any]) -> list[str]:
    """Return the keys that a study has at a place in it."""
    for part in path:
        if isinstance(part, str) and issubclass(model, BaseModel) and part in model.model_fields:
            annotation = model.model_fields[part].annotation
            inner = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
            model = next((kind for kind in inner if issubclass(kind, BaseModel)), model)
    return [key for key in model.model_fields if key != "file"]
