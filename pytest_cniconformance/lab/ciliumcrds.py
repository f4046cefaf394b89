# SPDX-License-Identifier: Apache-2.0
"""The CustomResourceDefinitions of Cilium's policies, with the fields that Cilium 1.18 knows.

Written after the published schema (pkg/k8s/apis/cilium.io/client/crds/v2), shortened where the lab's checks need
no more: unknown fields are refused or pruned as on a real cluster, deep value rules are not repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.objects import Obj

_STRING: Obj = {"type": "string"}
_BOOLEAN: Obj = {"type": "boolean"}
_LABELS: Obj = {"type": "object", "additionalProperties": _STRING}
_ENTITIES = (
    "all", "world", "world-ipv4", "world-ipv6", "cluster", "host", "init", "ingress", "unmanaged", "remote-node",
    "health", "none", "kube-apiserver",
)  # fmt: skip


def _object(required: tuple[str, ...] = (), /, **properties: Obj) -> Obj:
    schema: Obj = {"type": "object", "properties": properties}
    if required:
        schema["required"] = list(required)
    return schema


def _list(items: Obj, **more: object) -> Obj:
    return {"type": "array", "items": items, **more}


def _selector() -> Obj:
    operators = {"type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"]}
    expression = _object(("key", "operator"), key=_STRING, operator=operators, values=_list(_STRING))
    return _object(matchLabels=_LABELS, matchExpressions=_list(expression))


def _http_rule() -> Obj:
    match = _object(
        ("name",),
        name=_STRING,
        value=_STRING,
        mismatch={"type": "string", "enum": ["LOG", "ADD", "DELETE", "REPLACE"]},
        secret=_object(("name",), name=_STRING, namespace=_STRING),
    )
    return _object(
        method=_STRING, path=_STRING, host=_STRING, headers=_list(_STRING), headerMatches=_list(match)
    )


def _to_ports(*, deny: bool) -> Obj:
    port = _object(
        ("port",),
        port={"type": "string", "pattern": r"^(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|"
              r"[0-9]{1,4})|([a-zA-Z0-9]-?)*[a-zA-Z](-?[a-zA-Z0-9])*$"},
        endPort={"type": "integer", "format": "int32", "minimum": 0, "maximum": 65535},
        protocol={"type": "string", "enum": ["TCP", "UDP", "SCTP", "VRRP", "IGMP", "ICMP", "ICMPv6", "ANY"]},
    )  # fmt: skip
    ports = _list(port, maxItems=40)
    if deny:
        return _list(_object(ports=ports))
    name = _object(matchName=_STRING, matchPattern=_STRING)
    kafka = _object(role=_STRING, apiKey=_STRING, apiVersion=_STRING, clientID=_STRING, topic=_STRING)
    rules = _object(
        http=_list(_http_rule()),
        dns=_list(name),
        kafka=_list(kafka),
        l7proto=_STRING,
        l7=_list({"type": "object", "additionalProperties": _STRING}),
    )
    secret = _object(("name",), name=_STRING, namespace=_STRING)
    tls = _object(("secret",), secret=secret, trustedCA=_STRING, certificate=_STRING, privateKey=_STRING)
    envoy = _object(("name",), kind=_STRING, name=_STRING)
    listener = _object(("name", "envoyConfig"), name=_STRING, envoyConfig=envoy, priority={"type": "integer"})
    return _list(
        _object(
            ports=ports,
            rules=rules,
            serverNames=_list(_STRING),
            originatingTLS=tls,
            terminatingTLS=tls,
            listener=listener,
        )
    )


def _rule(side: str, *, deny: bool) -> Obj:
    address = _object(
        (),
        cidr=_STRING,
        cidrGroupRef=_STRING,
        cidrGroupSelector=_selector(),
        **{"except": _list(_STRING)},
    )
    aws = _object(
        labels=_LABELS, region=_STRING, securityGroupsIds=_list(_STRING), securityGroupsNames=_list(_STRING)
    )
    icmp = _object(
        ("type",),
        family={"type": "string", "enum": ["IPv4", "IPv6"]},
        type={"x-kubernetes-int-or-string": True},
    )
    rule = _object(
        **{
            f"{side}Endpoints": _list(_selector()),
            f"{side}Requires": _list(_selector()),
            f"{side}CIDR": _list(_STRING),
            f"{side}CIDRSet": _list(address),
            f"{side}Entities": _list({"type": "string", "enum": list(_ENTITIES)}),
            f"{side}Groups": _list(_object(aws=aws)),
            f"{side}Nodes": _list(_selector()),
        },
        toPorts=_to_ports(deny=deny),
        icmps=_list(_object(fields=_list(icmp, maxItems=40))),
    )
    properties = rule["properties"]
    if not deny:
        properties["authentication"] = _object(("mode",), mode=_STRING)
    if side == "to":
        named = _object(serviceName=_STRING, namespace=_STRING)
        selected = _object(("selector",), selector=_selector(), namespace=_STRING)
        properties["toServices"] = _list(_object(k8sService=named, k8sServiceSelector=selected))
        if not deny:
            properties["toFQDNs"] = _list(_object(matchName=_STRING, matchPattern=_STRING))
    return rule


def _spec() -> Obj:
    label = _object(("key",), key=_STRING, value=_STRING, source=_STRING)
    return _object(
        endpointSelector=_selector(),
        nodeSelector=_selector(),
        ingress=_list(_rule("from", deny=False)),
        ingressDeny=_list(_rule("from", deny=True)),
        egress=_list(_rule("to", deny=False)),
        egressDeny=_list(_rule("to", deny=True)),
        enableDefaultDeny=_object(ingress=_BOOLEAN, egress=_BOOLEAN),
        description=_STRING,
        labels=_list(label),
        log=_object(value=_STRING),
    )


def _crd(kind: str, plural: str, scope: str, short: list[str]) -> Obj:
    root = _object(
        apiVersion=_STRING,
        kind=_STRING,
        metadata={"type": "object"},
        spec=_spec(),
        specs=_list(_spec()),
        status={"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    )
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.cilium.io"},
        "spec": {
            "group": "cilium.io",
            "scope": scope,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": short,
                "categories": ["cilium", "ciliumpolicy"],
            },
            "versions": [
                {
                    "name": "v2",
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": root},
                }
            ],
        },
    }


def cilium_crds() -> list[Obj]:
    """Return the CRDs of CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy."""
    return [
        _crd("CiliumNetworkPolicy", "ciliumnetworkpolicies", "Namespaced", ["cnp", "ciliumnp"]),
        _crd("CiliumClusterwideNetworkPolicy", "ciliumclusterwidenetworkpolicies", "Cluster", ["ccnp"]),
    ]
