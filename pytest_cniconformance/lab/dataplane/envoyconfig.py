# SPDX-License-Identifier: Apache-2.0
"""Envoy's configuration: a fixed bootstrap, and one route file per direction that carries all HTTP rules.

The rules are an RBAC policy on the route configuration. Envoy reads that file again whenever it is replaced, and
asks it per request, so a changed policy also holds on connections that are already open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.dataplane.addressing import IPV4
from pytest_cniconformance.lab.dataplane.policy import EGRESS, INGRESS, HttpRule
from pytest_cniconformance.lab.dataplane.policytable import (
    EGRESS_PROXY_PORT,
    INGRESS_PROXY_PORT,
    PROXIED_EGRESS_MARK,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

    from pytest_cniconformance.lab.dataplane.policy import Port
    from pytest_cniconformance.lab.dataplane.policytable import PolicyTable, Redirect

Json = dict[str, Any]

_TYPE = "type.googleapis.com/envoy"
_RBAC = "envoy.filters.http.rbac"
_DENIED_BODY = "Access denied\r\n"
_REMEMBER_CONNECTIONS = """
local seen = {}
function envoy_on_request(handle)
  local connection = handle:streamInfo():downstreamDirectRemoteAddress()
  if seen[connection] then
    handle:streamInfo():dynamicMetadata():set("lab", "seen", true)
  end
  seen[connection] = true
end
"""


def route_file(directory: Path, direction: str) -> Path:
    """Where the rules of a direction are."""
    return directory / f"{direction}.json"


def bootstrap(directory: Path, families: Sequence[str], faults: Collection[str]) -> Json:
    """Two transparent listeners per family; what they let through goes on to where it was going."""
    listeners = [
        _listener(directory, direction, family, faults)
        for direction in (INGRESS, EGRESS)
        for family in families
    ]
    original = {
        "name": "original",
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
                "use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}},
            }
        },
    }
    return {
        "node": {"id": "lab", "cluster": "lab"},
        "static_resources": {"listeners": listeners, "clusters": [original]},
    }


def _listener(directory: Path, direction: str, family: str, faults: Collection[str]) -> Json:
    port = INGRESS_PROXY_PORT if direction == INGRESS else EGRESS_PROXY_PORT
    keep_source: Json = {"@type": f"{_TYPE}.extensions.filters.listener.original_src.v3.OriginalSrc"}
    if direction == EGRESS:
        keep_source["mark"] = PROXIED_EGRESS_MARK
    return {
        "name": f"{direction}-{family}",
        "transparent": True,
        "address": {"socket_address": {"address": "0.0.0.0" if family == IPV4 else "::", "port_value": port}},
        "listener_filters": [{"name": "envoy.filters.listener.original_src", "typed_config": keep_source}],
        "filter_chains": [
            {"filters": [_remember_target(), _connection_manager(directory, direction, faults)]}
        ],
    }


def _remember_target() -> Json:
    """Send upstream what the socket was addressed to.

    The original_dst listener filter would ask conntrack, and get the Service's address for translated connections.
    """
    value = {"text_format_source": {"inline_string": "%DOWNSTREAM_LOCAL_ADDRESS%"}}
    return {
        "name": "envoy.filters.network.set_filter_state",
        "typed_config": {
            "@type": f"{_TYPE}.extensions.filters.network.set_filter_state.v3.Config",
            "on_new_connection": [
                {"object_key": "envoy.network.transport_socket.original_dst_address", "format_string": value}
            ],
        },
    }


def _connection_manager(directory: Path, direction: str, faults: Collection[str]) -> Json:
    filters: list[Json] = []
    if "l7-only-first-request" in faults:
        filters.append(
            {
                "name": "envoy.filters.http.lua",
                "typed_config": {
                    "@type": f"{_TYPE}.extensions.filters.http.lua.v3.Lua",
                    "default_source_code": {"inline_string": _REMEMBER_CONNECTIONS},
                },
            }
        )
    # The filter itself denies everything; what the route file does not allow stays denied.
    closed = {"@type": f"{_TYPE}.extensions.filters.http.rbac.v3.RBAC", "rules": {"action": "ALLOW"}}
    filters += [
        {"name": _RBAC, "typed_config": closed},
        {
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": f"{_TYPE}.extensions.filters.http.router.v3.Router"},
        },
    ]
    source = {
        "path_config_source": {"path": str(route_file(directory, direction))},
        "resource_api_version": "V3",
    }
    denied = {
        "filter": {
            "status_code_filter": {
                "comparison": {"op": "EQ", "value": {"default_value": 403, "runtime_key": "lab.denied"}}
            }
        },
        "body": {"inline_string": _DENIED_BODY},
    }
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": direction,
            "rds": {"route_config_name": direction, "config_source": source},
            "http_filters": filters,
            "local_reply_config": {"mappers": [denied]},
            # As Cilium sets it up (http-normalize-path).
            "normalize_path": True,
            "merge_slashes": True,
            "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
            # The proxy is meant to be invisible.
            "use_remote_address": True,
            "skip_xff_append": True,
            "generate_request_id": False,
            "server_header_transformation": "PASS_THROUGH",
            "upgrade_configs": [{"upgrade_type": "websocket"}],
        },
    }


def routes(compiled: PolicyTable, direction: str, faults: Collection[str]) -> Json:
    """Build the route file of a direction from all redirects of a node."""
    policies: dict[str, Json] = {}
    for redirect in compiled.redirects:
        if redirect.direction != direction:
            continue
        for policy in redirect.policies:
            for index, rule in enumerate(policy.rules(direction)):
                if rule.http is None:
                    continue
                peers = compiled.writer.addresses(rule.peers)
                built = _policy(redirect, peers, rule.ports, rule.http, faults)
                if built:
                    policies[f"{redirect.pod.key} {policy.key} {index:03}"] = built
    if policies and "l7-only-first-request" in faults:
        seen = {"filter": "lab", "path": [{"key": "seen"}], "value": {"bool_match": True}}
        policies["seen"] = {"permissions": [{"metadata": seen}], "principals": [{"any": True}]}
    rules: Json = {"action": "ALLOW"}
    if policies:
        rules["policies"] = policies
    per_route = {"@type": f"{_TYPE}.extensions.filters.http.rbac.v3.RBACPerRoute", "rbac": {"rules": rules}}
    return {
        "resources": [
            {
                "@type": f"{_TYPE}.config.route.v3.RouteConfiguration",
                "name": direction,
                "virtual_hosts": [
                    {
                        "name": "all",
                        "domains": ["*"],
                        "routes": [
                            {"match": {"prefix": "/"}, "route": {"cluster": "original", "timeout": "0s"}}
                        ],
                        "typed_per_filter_config": {_RBAC: per_route},
                    }
                ],
            }
        ]
    }


def _policy(
    redirect: Redirect,
    peers: list[str] | None,
    ports: tuple[Port, ...] | None,
    http: tuple[HttpRule, ...],
    faults: Collection[str],
) -> Json | None:
    own = list(redirect.pod.ips)
    sources, targets = (peers, own) if redirect.direction == INGRESS else (own, peers)
    if sources == [] or targets == []:
        return None
    parts = [
        _any({"destination_ip": _cidr(ip)} for ip in targets) if targets is not None else {"any": True},
        _any(_ports(redirect, ports)) if ports is not None else {"any": True},
        _any(_request(rule, faults) for rule in http) if http else {"any": True},
    ]
    principals: list[Json] = (
        [{"any": True}] if sources is None else [{"direct_remote_ip": _cidr(ip)} for ip in sources]
    )
    return {"permissions": [{"and_rules": {"rules": parts}}], "principals": principals}


def _any(permissions: Iterable[Json]) -> Json:
    return {"or_rules": {"rules": list(permissions) or [{"not_rule": {"any": True}}]}}


def _ports(redirect: Redirect, ports: tuple[Port, ...]) -> Iterable[Json]:
    for port in ports:
        if port.protocol != "tcp":
            continue
        if port.name is not None:
            number = redirect.pod.named(port.name, port.protocol)
            if number is not None and redirect.direction == INGRESS:
                yield {"destination_port": number}
        elif port.low is not None:
            yield {"destination_port_range": {"start": port.low, "end": (port.high or port.low) + 1}}


def _cidr(text: str) -> Json:
    address, _, length = text.partition("/")
    return {"address_prefix": address, "prefix_len": int(length or (128 if ":" in address else 32))}


def _request(rule: HttpRule, faults: Collection[str]) -> Json:
    """All parts have to match; each is a regular expression over the whole value, as RE2 reads it."""
    path = rule.path
    if path and "l7-path-prefix" in faults:
        path = f"(?:{path}).*"
    method = "" if "l7-method-ignored" in faults else rule.method
    wanted = ((":method", method), (":path", path), (":authority", rule.host))
    if "l7-rules-rejected" in faults:
        return {"not_rule": {"any": True}}
    parts: list[Json] = [
        {"header": {"name": name, "string_match": {"safe_regex": {"regex": regex}}}}
        for name, regex in wanted
        if regex
    ]
    for name, value in rule.headers:
        match = {"present_match": True} if value is None else {"string_match": {"exact": value}}
        parts.append({"header": {"name": name, **match}})
    return {"and_rules": {"rules": parts}} if parts else {"any": True}
