# SPDX-License-Identifier: Apache-2.0
"""Manifests as text: YAML and JSON, read as ``kubectl apply`` reads them, each object with its place.

Where Go's YAML and Python's differ, Go's reading counts, because the API server's answer depends on it:
dates and ``12:30`` are text, keys become strings, a key that is given twice is an error. One difference is
kept: an unquoted ``y`` or ``n`` is the text that was meant, and a note says that kubectl reads a boolean.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

import yaml

from pytest_cniconformance.model.failure import UsageError

Obj = Mapping[str, Any]

if TYPE_CHECKING:
    _Loader = yaml.SafeLoader
else:  # libyaml is ten times as fast; wheels of PyYAML have it
    _Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


_MANY_NODES, _MANY_TIMES = 400_000, 10
"""Above so many nodes aliases may not make more than so many times what is written."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file: an object, a list of objects, and where it begins."""

    value: Any
    place: str


@dataclass(slots=True)
class Reading:
    """What a text holds, and what its author should know."""

    documents: list[Document] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_text(text: str, name: str) -> Reading:
    """Read one file's text; ``name`` is how its messages call it.

    Raises:
        UsageError: the text is neither YAML nor JSON; the message has file, line and reason.
    """
    try:
        return _read(text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}"), name)
    except RecursionError:
        raise UsageError(f"{name}: nested too deeply") from None


def _read(text: str, name: str) -> Reading:
    if text.lstrip()[:1] in ("{", "[") or name.endswith(".json"):
        try:
            return Reading(list(_json(text, name)))
        except ValueError as error:
            if name.endswith(".json"):
                raise UsageError(f"{name}:{getattr(error, 'lineno', 1)}: invalid JSON: {error}") from None
    try:
        return _yaml(text, name)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        reason = ", ".join(filter(None, (error.context, error.problem)))
        raise UsageError(f"{name}:{line}: invalid YAML: {reason}") from None
    except yaml.reader.ReaderError as error:
        line = text[: max(error.position, 0)].count("\n") + 1
        raise UsageError(f"{name}:{line}: invalid YAML: {error.reason}") from None
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise UsageError(f"{name}: invalid YAML: {error}") from None


def _json(text: str, name: str) -> Iterator[Document]:
    """Yield the JSON values of a text, one after the other as kubectl takes them."""
    decoder, at, line = json.JSONDecoder(object_pairs_hook=_once), 0, 1
    while rest := text[at:].lstrip() if at else text.lstrip():
        begin = len(text) - len(rest)
        line += text.count("\n", at, begin)
        value, end = decoder.raw_decode(text, begin)
        yield Document(value, f"{name}:{line}")
        line += text.count("\n", begin, end)
        at = end


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise ValueError(f"key {max(counts, key=lambda key: counts[key])!r} is given twice in one object")
    return made


def _yaml(text: str, name: str) -> Reading:
    loader = _Manifests(text)
    found = Reading()
    anchors = "&" in text  # where there is none there is no alias, and nothing to count
    try:
        while loader.check_node():
            node = loader.get_node()
            assert node is not None
            if anchors:
                _check_aliases(node)
            value = loader.construct_document(node)
            if value is not None:
                found.documents.append(Document(value, f"{name}:{node.start_mark.line + 1}"))
        for word, lines in loader.ambiguous.items():
            more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
            found.notes.append(
                f"{name}:{min(lines)}{more}: unquoted {word} is taken as text, but kubectl reads a boolean: quote it"
            )
    finally:
        loader.dispose()
    return found


def _check_aliases(document: yaml.Node) -> None:
    """Refuse what Go's YAML refuses too: an alias within what it stands for, and aliases that multiply.

    Python holds a node once, however often aliases repeat it; whoever walks the value would not come to an end.
    """
    sizes: dict[int, int] = {}
    open_: set[int] = set()
    written = 1

    def size(node: yaml.Node) -> int:
        """Return how many nodes this one is when each alias is written out."""
        nonlocal written
        if isinstance(node, yaml.ScalarNode):
            return 1
        if id(node) in open_:
            raise _refused("an alias stands within its own anchor", node)
        if id(node) not in sizes:
            open_.add(id(node))
            inside = chain.from_iterable(node.value) if isinstance(node, yaml.MappingNode) else node.value
            parts = [size(part) for part in inside]
            open_.remove(id(node))
            written += len(parts)
            sizes[id(node)] = 1 + sum(parts)
        return sizes[id(node)]

    if size(document) > max(_MANY_NODES, _MANY_TIMES * written):
        raise _refused("aliases repeat their anchors too often", document)


def _refused(reason: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, reason, node.start_mark)


class _Manifests(_Loader):
    """YAML 1.1 as sigs.k8s.io/yaml resolves it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.ambiguous: dict[str, list[int]] = {}

    def mapping(self, node: yaml.MappingNode) -> Iterator[dict[str, Any]]:
        """Build a mapping; its keys are strings, and each is given once."""
        made: dict[str, Any] = {}
        yield made
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag != "tag:yaml.org,2002:merge":
                key = (
                    (key_node.tag, key_node.value) if isinstance(key_node, yaml.ScalarNode) else id(key_node)
                )
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None,
                        None,
                        f"key {key_node.value!r} is given twice in one mapping",
                        key_node.start_mark,
                    )
                seen.add(key)
        self.flatten_mapping(node)
        for key_node, value_node in node.value:
            made[_key(self.construct_object(key_node, deep=True), key_node)] = self.construct_object(
                value_node
            )

    def text_with_note(self, node: yaml.ScalarNode) -> str:
        """Take an unquoted y or n as text, and remember where it is."""
        self.ambiguous.setdefault(str(node.value), []).append(node.start_mark.line + 1)
        return str(node.value)


def _key(key: Any, node: yaml.Node) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, str | int | float):
        return str(key)
    raise yaml.constructor.ConstructorError(None, None, "a key is neither text nor a number", node.start_mark)


_AMBIGUOUS = "tag:cniconformance,2026:ambiguous"
_FLOAT = (
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?"
    r"|[0-9][0-9_]*[eE][-+]?[0-9]+|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)"
)
_RESOLVERS = {
    "tag:yaml.org,2002:bool": (
        r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF",
        "yYnNtTfFoO",
    ),
    _AMBIGUOUS: (r"[yYnN]", "yYnN"),
    "tag:yaml.org,2002:int": (r"[-+]?(?:0b[01_]+|0[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)", "-+0123456789"),
    "tag:yaml.org,2002:float": (_FLOAT, "-+0123456789."),
    "tag:yaml.org,2002:null": (r"~|null|Null|NULL|", "~nN\0"),
    "tag:yaml.org,2002:merge": (r"<<", "<"),
}
_Manifests.yaml_implicit_resolvers = {}
for _tag, (_regex, _first) in _RESOLVERS.items():
    _Manifests.add_implicit_resolver(
        _tag, re.compile(f"(?:{_regex})$"), [char.replace("\0", "") for char in _first]
    )
_Manifests.add_constructor("tag:yaml.org,2002:map", _Manifests.mapping)
_Manifests.add_constructor(_AMBIGUOUS, _Manifests.text_with_note)
