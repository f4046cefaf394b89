# SPDX-License-Identifier: Apache-2.0
"""Makers of NetworkPolicies that read like a sentence.

>>> network_policy("web", "y", {"pod": "b"},
...     ingress=[rule(from_=[peer(pods={"pod": "a"}, namespaces={"ns": "x"})], ports=[port(80)])])["kind"]
'NetworkPolicy'

What is not given is absent from the object; an empty list or selector stays an empty one: the API tells
the two apart in some places, and it is the point of many checks that it does not in others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

INGRESS, EGRESS = "Ingress", "Egress"
"""The values of ``policyTypes``."""

Obj = dict[str, Any]
Selector = Mapping[str, Any]
"""Labels as a plain mapping, or a raw LabelSelector (with matchLabels, matchExpressions)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule before it is known whether its peers are ``from`` or ``to``."""

    peers: tuple[Obj, ...] | None = None
    ports: tuple[Obj, ...] | None = None


def network_policy(
    name: str,
    namespace: str,
    pod_selector: Selector | None = None,
    *,
    ingress: Sequence[Rule | Mapping[str, Any]] | None = None,
    egress: Sequence[Rule | Mapping[str, Any]] | None = None,
    types: Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Obj:
    """Return a NetworkPolicy. ``pod_selector`` None selects all pods, like ``{}``; rules may be raw dicts."""
    metadata: Obj = {"name": name, "namespace": namespace}
    if labels is not None:
        metadata["labels"] = dict(labels)
    spec: Obj = {"podSelector": selector(pod_selector or {})}
    if types is not None:
        spec["policyTypes"] = list(types)
    if ingress is not None:
        spec["ingress"] = [_rule(entry, "from") for entry in ingress]
    if egress is not None:
        spec["egress"] = [_rule(entry, "to") for entry in egress]
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def rule(
    peers: Sequence[Obj] | None = None,
    ports: Sequence[Obj] | None = None,
    *,
    from_: Sequence[Obj] | None = None,
    to: Sequence[Obj] | None = None,
) -> Rule:
    """Return a rule; ``from_`` and ``to`` are other names of ``peers``, for the reader."""
    given = [side for side in (peers, from_, to) if side is not None]
    if len(given) > 1:
        raise TypeError("rule() takes its peers once: positionally, as from_ or as to")
    return Rule(tuple(given[0]) if given else None, None if ports is None else tuple(ports))


def peer(
    pods: Selector | None = None,
    namespaces: Selector | None = None,
    *,
    cidr: str | None = None,
    except_: Sequence[str] | None = None,
) -> Obj:
    """Return a peer: pods and namespaces are ANDed; ``cidr`` with ``except_`` makes an ipBlock.

    What the API rejects (nothing at all, a block with a selector) can be built, for checks of just that.
    """
    made: Obj = {}
    if pods is not None:
        made["podSelector"] = selector(pods)
    if namespaces is not None:
        made["namespaceSelector"] = selector(namespaces)
    if cidr is not None:
        made["ipBlock"] = {"cidr": cidr} if except_ is None else {"cidr": cidr, "except": list(except_)}
    elif except_ is not None:
        raise TypeError("peer() takes except_ only with cidr")
    return made


def port(number: int | str | None = None, protocol: str | None = "TCP", *, end: int | None = None) -> Obj:
    """Return a port entry: a number, a name, or None for all ports; protocol None leaves it to the API (TCP)."""
    made: Obj = {}
    if number is not None:
        made["port"] = number
    if end is not None:
        made["endPort"] = end
    if protocol is not None:
        made["protocol"] = str(protocol)
    return made


def selector(given: Selector) -> Obj:
    """Return a LabelSelector: ``{}`` selects everything, plain labels become ``matchLabels``.

    Raises:
        TypeError: a label is no string, which the API server would reject too.
    """
    if given.keys() <= {"matchLabels", "matchExpressions"}:
        return dict(given)
    for key, value in given.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"labels are strings, not {key!r}: {value!r}")
    return {"matchLabels": dict(given)}


def expression(key: str, operator: str, *values: str) -> Obj:
    """Return one entry of ``matchExpressions``; ``values`` is absent when there are none."""
    made: Obj = {"key": key, "operator": operator}
    if values:
        made["values"] = list(values)
    return made


def matching(*expressions: Obj, labels: Mapping[str, str] | None = None) -> Obj:
    """Return a LabelSelector of expressions, and labels if given."""
    made: Obj = {} if labels is None else {"matchLabels": dict(labels)}
    return {**made, "matchExpressions": list(expressions)}


def to_yaml(*objs: Mapping[str, Any]) -> str:
    """Return manifests as YAML that every parser reads alike, YAML 1.1 ones included.

    Go's parser takes a bare ``y`` or ``n`` for a boolean, which Python's does not: text that could be read
    as something else is always quoted.
    """
    return yaml.dump_all(objs, Dumper=_Quoting, sort_keys=False, allow_unicode=True, width=110)


def _rule(given: Rule | Mapping[str, Any], side: str) -> Obj:
    if not isinstance(given, Rule):
        return dict(given)
    made: Obj = {}
    if given.peers is not None:
        made[side] = list(given.peers)
    if given.ports is not None:
        made["ports"] = list(given.ports)
    return made


class _Quoting(yaml.SafeDumper):
    """Writes no anchors, and quotes ambiguous text."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write equal objects twice: anchors surprise readers."""
        return True


_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9./_-]*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS
    style = None if plain else "|" if "\n" in text else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Quoting.add_representer(str, _text)
