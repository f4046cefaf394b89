# SPDX-License-Identifier: Apache-2.0
"""What the cluster's DNS is configured to do, as far as its Corefile says (https://coredns.io/manual/toc/)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client import KubeClient


@dataclass(frozen=True, slots=True)
class Stub:
    """A zone that is forwarded to servers of its own."""

    zone: str
    servers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DnsConfig:
    """The parts of a CoreDNS configuration that decide which names must resolve.

    ``pods`` is the mode of pod records: ``insecure``, ``verified``, ``disabled``; empty where nothing is known.
    """

    pods: str = ""
    stubs: tuple[Stub, ...] = ()


def read_dns_config(kube: KubeClient, namespace: str) -> DnsConfig:
    """Read the Corefiles of a namespace, and the server blocks that ``coredns-custom`` adds to them on AKS."""
    texts = []
    for config in kube.list("v1", "ConfigMap", namespace):
        data = config.get("data") or {}
        custom = config["metadata"]["name"] == "coredns-custom"
        texts += [
            text for key, text in data.items() if key == "Corefile" or (custom and key.endswith(".server"))
        ]
    return parse_corefile("\n".join(texts))


def parse_corefile(text: str) -> DnsConfig:
    """Return the configuration of one Corefile; what cannot be read is left out."""
    pods = ""
    stubs: dict[str, Stub] = {}
    for zones, plugins in _server_blocks(text):
        names = [words[0] for words, _ in plugins]
        for words, properties in plugins:
            if words[0] == "kubernetes":
                modes = [
                    property[1] for property in properties if len(property) > 1 and property[0] == "pods"
                ]
                pods = modes[0] if modes else "disabled"
            elif words[0] == "forward" and len(words) > 2:
                # ``forward . SERVER`` in a block of its own, or ``forward ZONE SERVER`` in any block.
                own = zones if words[1] == "." and "kubernetes" not in names else [words[1]]
                for zone in map(_zone, own):
                    if zone:
                        stubs.setdefault(zone, Stub(zone, tuple(words[2:])))
    return DnsConfig(pods, tuple(stubs.values()))


_Plugin = tuple[list[str], list[list[str]]]


def _server_blocks(text: str) -> Iterator[tuple[list[str], list[_Plugin]]]:
    """Yield the zones of each server block with its plugins: their words, and the words of their properties."""
    zones: list[str] = []
    plugins: list[_Plugin] = []
    depth = 0
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        if words == ["}"]:
            depth -= 1
            if depth == 0:
                yield zones, plugins
                zones, plugins = [], []
            continue
        opens = words[-1] == "{"
        words = words[:-1] if opens else words
        if depth == 0:
            zones += [word.rstrip(",") for word in words]
        elif depth == 1 and words:
            plugins.append((words, []))
        elif depth == 2 and plugins:
            plugins[-1][1].append(words)
        depth += opens


def _zone(key: str) -> str:
    """Return the name in a key such as ``dns://example.org:53``; empty for the root, ranges and snippets."""
    name = key.rpartition("://")[2].partition(":")[0].strip(".").lower()
    return "" if not name or "/" in name or name.startswith("(") else name
