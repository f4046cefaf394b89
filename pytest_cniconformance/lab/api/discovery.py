# SPDX-License-Identifier: Apache-2.0
"""Discovery: which groups, versions and resources there are, plain and aggregated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from pytest_cniconformance.lab.api.objects import Obj, encode
from pytest_cniconformance.lab.api.paths import page_not_found
from pytest_cniconformance.lab.api.responses import json_response
from pytest_cniconformance.lab.api.schemas import SERVED_VERSION

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.kinds import Kinds, Resource

_SUB_VERBS: dict[str, tuple[tuple[str, ...], str, str]] = {
    # subresource: verbs, kind and group/version of what it takes (empty: the resource's own)
    "status": (("get", "patch", "update"), "", ""),
    "finalize": (("update",), "", ""),
    "ephemeralcontainers": (("get", "patch", "update"), "", ""),
    "exec": (("create", "get"), "PodExecOptions", ""),
    "log": (("get",), "", ""),
    "eviction": (("create",), "Eviction", "policy/v1"),
    "binding": (("create",), "Binding", ""),
    "token": (("create",), "TokenRequest", "authentication.k8s.io/v1"),
}
_AGGREGATED = ("v2", "v2beta1")


def version_info() -> Obj:
    """Return the answer to /version: an emulated API says so in its git version."""
    major, minor, _ = SERVED_VERSION.split(".")
    return {
        "major": major,
        "minor": minor,
        "emulationMajor": major,
        "emulationMinor": minor,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": str(int(minor) - 1),
        "gitVersion": f"v{SERVED_VERSION}+lab",
        "gitCommit": "0000000000000000000000000000000000000000",
        "gitTreeState": "clean",
        "buildDate": "2025-04-23T00:00:00Z",
        "goVersion": "python",
        "compiler": "cpython",
        "platform": "linux/amd64",
    }


def discover(kinds: Kinds, path: str, accept: str, server: str) -> web.Response | None:
    """Return the discovery document of a path, None when the path is not one of discovery."""
    parts = [part for part in path.split("/") if part]
    if parts in (["api"], ["apis"]):
        if version := next(
            (one for one in _AGGREGATED if f"v={one};as=APIGroupDiscoveryList" in accept), None
        ):
            return _aggregated(kinds, core=parts == ["api"], version=version)
        return json_response(_core_versions(server) if parts == ["api"] else _groups(kinds))
    if parts == ["api", "v1"]:
        return json_response(_resources(kinds, "", "v1"))
    if parts[:1] == ["apis"] and len(parts) in (2, 3):
        versions = kinds.groups().get(parts[1])
        if versions is None or (len(parts) == 3 and parts[2] not in versions):
            raise page_not_found()
        if len(parts) == 2:
            return json_response({"kind": "APIGroup", "apiVersion": "v1", **_group(parts[1], versions)})
        return json_response(_resources(kinds, parts[1], parts[2]))
    return None


def _core_versions(server: str) -> Obj:
    addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": server}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}


def _groups(kinds: Kinds) -> Obj:
    groups = [_group(name, versions) for name, versions in kinds.groups().items()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def _group(name: str, versions: list[str]) -> Obj:
    entries = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": entries, "preferredVersion": entries[0]}


def _resources(kinds: Kinds, group: str, version: str) -> Obj:
    entries: list[Obj] = []
    for resource in kinds.all():
        if (resource.group, resource.version) != (group, version):
            continue
        entry: Obj = {
            "name": resource.plural,
            "singularName": resource.singular or resource.kind.lower(),
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": list(resource.verbs),
            "storageVersionHash": "",
        }
        if resource.short:
            entry["shortNames"] = list(resource.short)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        entries.append(entry)
        entries += [_subresource(resource, name) for name in resource.subresources]
    group_version = f"{group}/{version}" if group else version
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": entries,
    }


def _subresource(resource: Resource, name: str) -> Obj:
    verbs, kind, group_version = _SUB_VERBS[name]
    entry: Obj = {
        "name": f"{resource.plural}/{name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": kind or resource.kind,
        "verbs": list(verbs),
    }
    if group_version:
        entry["group"], entry["version"] = group_version.split("/")
    return entry


def _aggregated(kinds: Kinds, *, core: bool, version: str) -> web.Response:
    groups = {"": ["v1"]} if core else kinds.groups()
    items = []
    for group, versions in groups.items():
        entry: Obj = {"metadata": {"creationTimestamp": None}, "versions": []}
        if group:
            entry["metadata"]["name"] = group
        for one in versions:
            resources = [
                _aggregated_resource(resource)
                for resource in kinds.all()
                if (resource.group, resource.version) == (group, one)
            ]
            entry["versions"].append({"version": one, "resources": resources, "freshness": "Current"})
        items.append(entry)
    body = {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }
    media = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
    return web.Response(body=encode(body), headers={"Content-Type": media})


def _aggregated_resource(resource: Resource) -> Obj:
    entry: Obj = {
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular or resource.kind.lower(),
        "verbs": list(resource.verbs),
    }
    if resource.short:
        entry["shortNames"] = list(resource.short)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    below = []
    for name in resource.subresources:
        verbs, kind, group_version = _SUB_VERBS[name]
        group, _, version = (
            group_version.rpartition("/") if group_version else (resource.group, "", resource.version)
        )
        response = {"group": group, "version": version, "kind": kind or resource.kind}
        below.append({"subresource": name, "responseKind": response, "verbs": list(verbs)})
    if below:
        entry["subresources"] = below
    return entry
