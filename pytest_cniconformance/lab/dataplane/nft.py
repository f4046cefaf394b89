# SPDX-License-Identifier: Apache-2.0
"""Rulesets as values, and the transaction that turns one into another.

A ``Table`` is the wanted content of one nftables table. ``transition(old, new)`` gives the smallest script that
moves the kernel from one to the other without a moment in between: unchanged chains are not touched (their
dynamic sets keep their elements), changed chains are flushed and refilled, sets change element by element.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_CHUNK = 200


def short(*parts: str) -> str:
    """Ten hexadecimal digits that stand for the parts; stable between runs."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]


def chain_name(prefix: str, readable: str) -> str:
    """Make a chain name that is unique and still tells what it is for (nftables allows 127 characters)."""
    kept = "".join(c if c.isalnum() or c in "-_./" else "_" for c in readable)
    return f"{prefix}-{short(prefix, readable)}-{kept}"[:120]


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain: its hook (empty for a regular chain) and its rules in order."""

    rules: tuple[str, ...] = ()
    hook: str = ""


@dataclass(frozen=True, slots=True)
class Set:
    """A set, or a map if its elements carry a value.

    ``spec`` is everything between the braces but the elements, e.g. ``type ipv4_addr; flags interval;``.
    ``elements`` maps a key to its value, empty for plain sets. A dynamic set keeps the elements that
    packets put into it, so it is created and deleted but never filled.
    """

    spec: str
    elements: dict[str, str] = field(default_factory=dict)
    is_map: bool = False

    @property
    def keyword(self) -> str:
        """``map`` or ``set``, as nft calls it."""
        return "map" if self.is_map else "set"


@dataclass(slots=True)
class Table:
    """The wanted content of a table; ``name`` includes the family, e.g. ``inet cni``."""

    name: str
    chains: dict[str, Chain] = field(default_factory=dict)
    sets: dict[str, Set] = field(default_factory=dict)

    def chain(self, name: str, rules: Iterable[str] = (), hook: str = "") -> str:
        """Define a chain and return its name."""
        self.chains[name] = Chain(tuple(rules), hook)
        return name

    def set(self, name: str, spec: str, elements: Iterable[str] = ()) -> str:
        """Define a set and return its name."""
        self.sets[name] = Set(spec, dict.fromkeys(sorted(elements), ""))
        return name

    def map(self, name: str, spec: str, elements: dict[str, str] | None = None) -> str:
        """Define a map and return its name."""
        self.sets[name] = Set(spec, dict(sorted((elements or {}).items())), is_map=True)
        return name

    @property
    def empty(self) -> bool:
        """Whether the table holds nothing, so that it need not exist."""
        return not self.chains and not self.sets


def transition(old: Table | None, new: Table) -> str:
    """Write the script that turns ``old`` (None: no table, whatever the kernel has is dropped) into ``new``."""
    if old is None:
        if new.empty:
            return ""
        return f"add table {new.name}\ndelete table {new.name}\n" + _body(Table(new.name), new)
    if new.empty:
        return "" if old.empty else f"delete table {new.name}\n"
    return _body(old, new)


def _body(old: Table, new: Table) -> str:
    name = new.name
    remade = {
        key for key, value in new.sets.items() if key in old.sets and old.sets[key].spec != value.spec
    }  # a set cannot change its type in place
    rehooked = {
        key for key, value in new.chains.items() if key in old.chains and old.chains[key].hook != value.hook
    }
    changed = [key for key, chain in new.chains.items() if key in rehooked or old.chains.get(key) != chain]
    # Rules that name a set which is made anew have to let go of it first.
    for key, chain in new.chains.items():
        if key not in changed and any(f"@{s}" in rule for rule in chain.rules for s in remade):
            changed.append(key)
    gone_chains = [key for key in old.chains if key not in new.chains or key in rehooked]
    gone_sets = [key for key in old.sets if key not in new.sets or key in remade]

    out: list[str] = []
    if old.empty:
        out.append(f"add table {name}")
    out += [f"flush chain {name} {key}" for key in (*changed, *gone_chains) if key in old.chains]
    for key, current in old.sets.items():
        if key in gone_sets:
            if current.is_map and current.elements:
                out.append(f"flush {current.keyword} {name} {key}")
        else:
            out += _removals(name, key, current, new.sets[key])
    out += [f"delete chain {name} {key}" for key in gone_chains]
    out += [f"delete {old.sets[key].keyword} {name} {key}" for key in gone_sets]

    for key, wanted in new.sets.items():
        if key not in old.sets or key in remade:
            out.append(f"add {wanted.keyword} {name} {key} {{ {wanted.spec} }}")
    for key, chain in new.chains.items():
        if key not in old.chains or key in rehooked:
            out.append(
                f"add chain {name} {key} {{ {chain.hook} }}" if chain.hook else f"add chain {name} {key}"
            )
    for key, wanted in new.sets.items():
        out += _additions(name, key, None if key in remade else old.sets.get(key), wanted)
    for key in changed:
        out += [f"add rule {name} {key} {rule}" for rule in new.chains[key].rules]
    return "\n".join(out) + "\n" if out else ""


def _removals(table: str, name: str, old: Set, new: Set) -> list[str]:
    if old.spec != new.spec:
        return []
    stale = [key for key, value in old.elements.items() if new.elements.get(key) != value]
    return [f"delete element {table} {name} {{ {', '.join(chunk)} }}" for chunk in _chunks(stale)]


def _additions(table: str, name: str, old: Set | None, new: Set) -> list[str]:
    have = old.elements if old else {}
    missing = [
        f"{key} : {value}" if new.is_map else key
        for key, value in new.elements.items()
        if have.get(key) != value
    ]
    return [f"add element {table} {name} {{ {', '.join(chunk)} }}" for chunk in _chunks(missing)]


def _chunks(items: list[str]) -> Iterable[list[str]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]
