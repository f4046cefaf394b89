# SPDX-License-Identifier: Apache-2.0
"""Find the kubeconfig in force and say what is wrong with it, before any library touches it.

The ``kubernetes`` package loads credentials, but its loader differs from kubectl in which file's
``current-context`` wins, ignores ``proxy-url`` before 33 and quotes whole user entries, tokens included, in its
errors. So this module chooses the context and explains failures; it never puts a value from a file in a message.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..model.failure import UsageError
from .errors import CHOOSE_ANOTHER

_FILE_KEYS = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Selected:
    """One context of one or several merged kubeconfig files; ``paths`` is empty inside a pod."""

    paths: tuple[Path, ...]
    context: str
    cluster: dict[str, Any]
    user: dict[str, Any]
    namespace: str
    document: dict[str, Any]

    @property
    def in_cluster(self) -> bool:
        """Whether the service account of this pod is used in place of a kubeconfig."""
        return not self.paths

    def missing_files(self) -> list[str]:
        """Return the keys, never the values, whose files cannot be read."""
        return [
            key
            for entry in (self.cluster, self.user)
            for key in _FILE_KEYS
            if isinstance(entry.get(key), str) and not os.access(entry[key], os.R_OK)
        ]


def candidates(kubeconfig: str | None) -> tuple[list[Path], str]:
    """Return the files to merge, and where that choice came from."""
    if kubeconfig:
        listed, origin = kubeconfig, "--cni-kubeconfig"
    elif os.environ.get("KUBECONFIG"):
        listed, origin = os.environ["KUBECONFIG"], "KUBECONFIG"
    else:
        listed, origin = str(Path("~/.kube/config")), "the default location"
    return [Path(part).expanduser() for part in listed.split(os.pathsep) if part], origin


def _read(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read kubeconfig {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"kubeconfig {path} is not a text file") from None
    except yaml.YAMLError as error:
        # The error's own text quotes the file, which holds credentials: the position must do.
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise UsageError(f"kubeconfig {path} is not valid YAML{where}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise UsageError(f"kubeconfig {path} is not a mapping with clusters, users and contexts")
    return document


def _absolute(entry: dict[str, Any], base: Path) -> dict[str, Any]:
    """Return ``entry`` with its file references made absolute, as kubectl reads them."""
    result = dict(entry)
    for key in _FILE_KEYS:
        value = result.get(key)
        if isinstance(value, str) and value:
            result[key] = str(base / value)
    return result


def merge(paths: list[Path]) -> dict[str, Any]:
    """Merge kubeconfig files by kubectl's rule: the first file that sets a value or names an entry wins."""
    merged: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [],
        "contexts": [],
        "users": [],
        "current-context": "",
    }
    for path in paths:
        document = _read(path)
        merged["current-context"] = merged["current-context"] or document.get("current-context") or ""
        for section, inner in (("clusters", "cluster"), ("contexts", "context"), ("users", "user")):
            known = {entry["name"] for entry in merged[section]}
            for entry in document.get(section) or []:
                if isinstance(entry, dict) and entry.get("name") and entry["name"] not in known:
                    value = entry.get(inner) or {}
                    merged[section].append(
                        {"name": entry["name"], inner: _absolute(value, path.absolute().parent)}
                    )
    return merged


def _entry(document: dict[str, Any], section: str, inner: str, name: str) -> dict[str, Any] | None:
    for entry in document[section]:
        if entry["name"] == name:
            value: dict[str, Any] = entry[inner]
            return value
    return None


def _in_cluster() -> Selected | None:
    if not os.environ.get("KUBERNETES_SERVICE_HOST") or not (SERVICE_ACCOUNT / "token").is_file():
        return None
    return Selected((), "in-cluster", {}, {}, "default", {})


def select(kubeconfig: str | None = None, context: str | None = None) -> Selected:
    """Return the context to use, or raise :class:`UsageError` saying what to do.

    ``kubeconfig`` may be several files joined like ``PATH``. Without any file, the service account of the pod
    that this process runs in is used, as kubectl does.
    """
    wanted, origin = candidates(kubeconfig)
    present = [path for path in wanted if path.is_file()]
    if not present:
        inside = None if kubeconfig or context else _in_cluster()
        if inside:
            return inside
        looked = ", ".join(str(path) for path in wanted)
        raise UsageError(f"no kubeconfig: {looked} (from {origin}) does not exist. {CHOOSE_ANOTHER}")
    document = merge(present)
    shown = ", ".join(str(path) for path in present)
    known = [entry["name"] for entry in document["contexts"]]
    name = context or document["current-context"]
    listing = f"contexts there: {', '.join(known)}" if known else "it has no contexts"
    if not name:
        raise UsageError(
            f"kubeconfig {shown} has no current-context ({listing}). "
            "Choose one with --cni-context=NAME or `kubectl config use-context NAME`"
        )
    found = _entry(document, "contexts", "context", name)
    if found is None:
        raise UsageError(
            f'no context "{name}" in kubeconfig {shown} ({listing}). Choose one with --cni-context=NAME'
        )
    cluster_name, user_name = str(found.get("cluster") or ""), str(found.get("user") or "")
    cluster = _entry(document, "clusters", "cluster", cluster_name)
    if cluster is None or not cluster.get("server"):
        raise UsageError(
            f'context "{name}" of kubeconfig {shown} names cluster "{cluster_name}", which has no server there. '
            f"{CHOOSE_ANOTHER}"
        )
    user = _entry(document, "users", "user", user_name) if user_name else {}
    if user is None:
        raise UsageError(f'context "{name}" of kubeconfig {shown} names user "{user_name}", who is not in it')
    namespace = str(found.get("namespace") or "default")
    return Selected(tuple(present), name, cluster, user, namespace, document | {"current-context": name})
