# SPDX-License-Identifier: Apache-2.0
"""Recognising the CNI of a cluster by the traces that it leaves in the API."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Protocol

from pytest_cniconformance.cni.loader import known_profiles, load_profile
from pytest_cniconformance.cni.profile import CniProfile

_TAG = re.compile(r":v?(\d+\.\d+[\w.-]*)$")


class Hints(Protocol):
    """Traces of network components. Any field may be empty where the user may not read it."""

    @property
    def daemonsets(self) -> Iterable[str]:
        """``namespace/name``."""

    @property
    def images(self) -> Iterable[str]:
        """Images of those DaemonSets, tags included."""

    @property
    def crds(self) -> Iterable[str]:
        """API groups, or names of CustomResourceDefinitions."""

    @property
    def annotations(self) -> Iterable[str]:
        """Keys of annotations and labels on nodes."""

    @property
    def config(self) -> Iterable[str]:
        """``namespace/name`` of ConfigMaps."""


@dataclass(frozen=True, slots=True)
class Detected:
    """The CNI found, its version if an image tag tells it, and what gave it away."""

    name: str
    version: str
    evidence: tuple[str, ...]


def detect(facts: Hints | Mapping[str, Any]) -> Detected | None:
    """Return the CNI that a cluster runs, None if no profile recognises it.

    A running DaemonSet outweighs everything else: annotations, ConfigMaps and API groups outlive the CNI
    that made them. Of several CNIs the one that is chained on top of the others counts.

    Args:
        facts: the traces, as attributes or as a mapping with the same names; DaemonSets may be raw objects.
    """
    traces = _Traces.of(facts)
    profiles = [load_profile(name) for name in known_profiles()]
    for kinds in (("daemonsets",), ("annotations", "config"), ("crds",)):
        found = {p.name: evidence for p in profiles if (evidence := list(traces.of_profile(p, kinds)))}
        beneath = {name for top in found for name in load_profile(top).detection.over}
        on_top = sorted((name for name in found if name not in beneath), key=lambda n: (-len(found[n]), n))
        if on_top:
            name = on_top[0]
            evidence = [*found[name], *(f"also {text}" for other in on_top[1:] for text in found[other])]
            return Detected(name, traces.version(load_profile(name)), tuple(evidence))
    return None


@dataclass(frozen=True, slots=True)
class _Traces:
    daemonsets: tuple[str, ...]
    images: tuple[str, ...]
    crds: tuple[str, ...]
    annotations: tuple[str, ...]
    config: tuple[str, ...]

    @classmethod
    def of(cls, facts: Hints | Mapping[str, Any]) -> _Traces:
        def read(name: str) -> tuple[Any, ...]:
            given = facts.get(name) if isinstance(facts, Mapping) else getattr(facts, name, None)
            return tuple(given or ())

        raw = [entry for entry in read("daemonsets") if isinstance(entry, Mapping)]
        return cls(
            tuple(
                _full_name(entry) if isinstance(entry, Mapping) else str(entry)
                for entry in read("daemonsets")
            ),
            (*map(str, read("images")), *(image for entry in raw for image in _images(entry))),
            tuple(map(str, read("crds"))),
            tuple(map(str, read("annotations"))),
            tuple(map(str, read("config"))),
        )

    def of_profile(self, profile: CniProfile, kinds: Iterable[str]) -> Iterator[str]:
        """Yield the evidence for a profile."""
        words = {
            "daemonsets": "DaemonSet {}",
            "annotations": "node annotation {}",
            "config": "ConfigMap {}",
            "crds": "API group {} (no DaemonSet seen)",
        }
        for kind in kinds:
            for trace in getattr(self, kind):
                if any(fnmatchcase(trace, pattern) for pattern in getattr(profile.detection, kind)):
                    yield words[kind].format(trace)

    def version(self, profile: CniProfile) -> str:
        """Return the version by the tag of the CNI's own image, empty if there is none."""
        for image in self.images:
            plain = image.partition("@")[0]
            tag = _TAG.search(plain)
            if tag and any(fnmatchcase(plain, pattern) for pattern in profile.detection.images):
                return tag[1]
        return ""


def _full_name(obj: Mapping[str, Any]) -> str:
    metadata = obj["metadata"]
    return f"{metadata.get('namespace') or 'default'}/{metadata['name']}"


def _images(obj: Mapping[str, Any]) -> Iterator[str]:
    spec = ((obj.get("spec") or {}).get("template") or {}).get("spec") or {}
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        yield str(container.get("image", ""))
