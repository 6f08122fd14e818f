"""Reading a study's YAML file, and saying what is wrong with it: file, line, key, what is allowed."""

import difflib
import re
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel

from cxr_kd.errors import StudyError


class _Yaml(yaml.SafeLoader):
    """Safe YAML in which `1e-3` is a number, as everybody reads it, and a key that stands twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise StudyError(f"{self.name}:{key.start_mark.line + 1}: {key.value} stands there twice: keep one")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Yaml.yaml_implicit_resolvers = {key: list(value) for key, value in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def read_yaml(file: Path) -> tuple[dict[str, Any], yaml.Node]:
    """The content of a YAML file, and its tree, which knows the lines. Raises StudyError where it is not a mapping."""
    try:
        with file.open(encoding="utf-8") as stream:
            loader = _Yaml(stream)
            tree = loader.get_single_node()
            content = loader.construct_document(tree) if tree else None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StudyError(f"{file}: not readable as YAML: {error}") from error
    if tree is None or not isinstance(content, dict):
        raise StudyError(f"{file}: a study is a mapping of settings, such as 'title: ...'")
    if "file" in content:
        raise StudyError(f"{file}: unknown key 'file'")
    return content, tree


def explain(file: Path, tree: yaml.Node, problem: Any, model: type[BaseModel]) -> str:
    """One problem in words: file, line, key, what is wrong, what is allowed."""
    path = [part for part in problem["loc"] if part != "[key]"]
    key, message = ".".join(map(str, path)), problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        allowed = _keys_at(model, path[:-1])
        close = difflib.get_close_matches(str(path[-1]), allowed, n=1)
        message = f"unknown key{f'; did you mean {close[0]!r}?' if close else ''} Allowed: {', '.join(sorted(allowed))}"
    else:
        given = problem["input"] if not isinstance(problem["input"], dict) else "a mapping"
        message += "" if problem["type"] in ("missing", "value_error") else f", not {given!r}"
    return f"{file}:{_line(tree, path)}: {key or 'study'}: {message}"


def _line(node: yaml.Node, path: list[Any]) -> int:
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
    """The keys that a study knows at a place in it."""
    for part in path:
        if isinstance(part, str) and issubclass(model, BaseModel) and part in model.model_fields:
            annotation = model.model_fields[part].annotation
            inner = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
            model = next((kind for kind in inner if issubclass(kind, BaseModel)), model)
    return [key for key in model.model_fields if key != "file"]
