# SPDX-License-Identifier: Apache-2.0
"""kube-proxy in nftables: the chains follow the layout of Kubernetes' own nftables proxier.

One table per address family and node. ``service-ips`` and ``service-nodeports`` map a destination to the chain of
its Service; that chain picks an endpoint at random (``numgen random``); the endpoint's chain translates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_cniconformance.lab.dataplane.addressing import IPV4, family_of, nft_family, pod_network
from pytest_cniconformance.lab.dataplane.nft import Table, chain_name
from pytest_cniconformance.lab.dataplane.servicefaults import SYSTEM_NAMESPACES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from pytest_cniconformance.lab.dataplane.addressing import NodeAddresses
    from pytest_cniconformance.lab.dataplane.hostports import HostPort
    from pytest_cniconformance.lab.dataplane.services import Endpoint, ServicePort

MASQUERADE_MARK = 0x4000
_MASQ = f"0x{MASQUERADE_MARK:x}"


class ProxyTable:
    """Builds the table of one node and one family."""

    def __init__(
        self, node: NodeAddresses, family: str, faults: Collection[str], *, last_node: bool, zone: str
    ) -> None:
        self._node = node
        self._family = family
        self._zone = zone
        self._ip = nft_family(family)
        self._faults = faults
        self._skips_user_services = last_node and "service-rules-missing" in faults
        self._node_ports_closed = "nodeport-on-one-node" in faults and node.index > 1
        self._table = Table(f"{self._ip} kube-proxy")
        self._service_ips: dict[str, str] = {}
        self._node_ports: dict[str, str] = {}
        self._dead_ips: dict[str, str] = {}
        self._dead_ports: dict[str, str] = {}
        self._cluster_ips: set[str] = set()

    def build(self, ports: Iterable[ServicePort], host_ports: Iterable[HostPort] = ()) -> Table:
        """Compile all Services of the family, and the host ports of the node."""
        for port in ports:
            if port.family != self._family:
                continue
            if self._skips_user_services and port.namespace not in SYSTEM_NAMESPACES:
                continue
            self._service(port)
        mapped = [p for p in host_ports if p.node == self._node.name and family_of(p.pod_ip) == self._family]
        self._table.chain("host-ports", [r for p in mapped for r in p.rules("jump mark-for-masquerade")])
        self._skeleton()
        return self._table

    def _service(self, port: ServicePort) -> None:
        self._cluster_ips.add(port.cluster_ip)
        everyone = port.close_to(self._zone)
        if "zone-without-endpoints" in self._faults:
            everyone = tuple(e for e in everyone if not e.zones or self._node.zone in e.zones)
        here = port.local_endpoints(self._node.name)
        internal = here if port.internal_local else everyone
        external = here if port.external_local else everyone

        cluster_key = f"{port.cluster_ip} . {port.protocol} . {port.port}"
        if internal:
            self._service_ips[cluster_key] = f"goto {self._cluster_chain(port, internal)}"
        else:
            self._dead_ips[cluster_key] = self._no_endpoints(port, dropped=bool(everyone))

        suffix = f"{port.protocol} . {port.port}"
        balanced_keys = [f"{ip} . {suffix}" for ip in port.load_balancer_ips]
        outside_keys = [*(f"{ip} . {suffix}" for ip in port.external_ips), *balanced_keys]
        if not outside_keys and port.node_port is None:
            return
        node_key = f"{port.protocol} . {port.node_port}" if port.node_port is not None else None
        if self._node_ports_closed:
            node_key = None
        if everyone:
            verdict = f"goto {self._external_chain(port, external, everyone)}"
            self._service_ips.update(dict.fromkeys(outside_keys, verdict))
            if barred := self._firewall(port):
                chain = self._table.chain(chain_name("fw", port.key), [*barred, verdict])
                self._service_ips.update(dict.fromkeys(balanced_keys, f"goto {chain}"))
            if node_key:
                self._node_ports[node_key] = verdict
        if not external:
            dead = self._no_endpoints(port, dropped=bool(everyone))
            self._dead_ips.update(dict.fromkeys(outside_keys, dead))
            if node_key:
                self._dead_ports[node_key] = dead

    def _firewall(self, port: ServicePort) -> list[str]:
        """Return what keeps clients from a load balancer's address that it is not for."""
        rules = []
        if port.source_ranges:
            rules.append(f"{self._ip} saddr != {{ {', '.join(sorted(port.source_ranges))} }} drop")
        if "lb-inside-broken" in self._faults:
            rules.append(f"{self._ip} saddr {pod_network(self._family)} drop")
        return rules

    def _no_endpoints(self, port: ServicePort, *, dropped: bool) -> str:
        """Drop where a policy leaves no local endpoint; refuse where there is no endpoint at all."""
        if port.protocol == "udp" and "udp-conntrack-stale" in self._faults:
            return "accept"  # untranslated, and conntrack will remember
        return "drop" if dropped or "no-endpoints-dropped" in self._faults else "goto reject-chain"

    def _cluster_chain(self, port: ServicePort, endpoints: Sequence[Endpoint]) -> str:
        name = chain_name("svc" if not port.internal_local else "svl", port.key)
        match = f"{self._ip} daddr {port.cluster_ip} {port.protocol} dport {port.port}"
        off_cluster = f"{match} {self._ip} saddr != {pod_network(self._family)} jump mark-for-masquerade"
        if "service-source-rewritten" in self._faults and port.namespace not in SYSTEM_NAMESPACES:
            off_cluster = "jump mark-for-masquerade"
        return self._table.chain(name, [off_cluster, *self._spread(port, endpoints)])

    def _external_chain(
        self, port: ServicePort, endpoints: Sequence[Endpoint], inside: Sequence[Endpoint]
    ) -> str:
        name = chain_name("ext", port.key)
        everyone = self._table.chain(chain_name("all", port.key), self._spread(port, inside))
        if not port.external_local:
            return self._table.chain(name, ["jump mark-for-masquerade", f"goto {everyone}"])
        rules = [
            # Pods and the node itself are inside: for them the policy does not apply.
            f"{self._ip} saddr {pod_network(self._family)} goto {everyone}",
            "fib saddr type local jump mark-for-masquerade",
            f"fib saddr type local goto {everyone}",
        ]
        if "local-source-snat" in self._faults:
            rules.append("jump mark-for-masquerade")
        if endpoints:
            here = self._table.chain(chain_name("loc", port.key), self._spread(port, endpoints))
            rules.append(f"goto {here}")
        return self._table.chain(name, rules)

    def _spread(self, port: ServicePort, endpoints: Sequence[Endpoint]) -> list[str]:
        chains = [self._endpoint_chain(port, endpoint) for endpoint in endpoints]
        rules = []
        if port.affinity_seconds is not None:
            rules += [
                f"{self._ip} saddr @{self._affinity_set(port, endpoint)} goto {chain}"
                for endpoint, chain in zip(endpoints, chains, strict=True)
            ]
        if len(chains) == 1:
            rules.append(f"goto {chains[0]}")
        else:
            if "service-skewed" in self._faults:
                chains += chains[:1] * len(chains)
            choices = ", ".join(f"{i} : goto {chain}" for i, chain in enumerate(chains))
            rules.append(f"numgen random mod {len(chains)} vmap {{ {choices} }}")
        return rules

    def _affinity_set(self, port: ServicePort, endpoint: Endpoint) -> str:
        name = chain_name("aff", f"{port.key}/{endpoint.ip}/{endpoint.port}")
        kind = "ipv4_addr" if self._family == IPV4 else "ipv6_addr"
        if name not in self._table.sets:
            self._table.set(name, f"type {kind}; flags dynamic,timeout; timeout {port.affinity_seconds}s;")
        return name

    def _endpoint_chain(self, port: ServicePort, endpoint: Endpoint) -> str:
        name = chain_name("ep", f"{port.key}/{endpoint.ip}/{endpoint.port}")
        rules = []
        if "hairpin-broken" not in self._faults:
            # A pod that is sent to itself must see another source, or it answers itself directly.
            rules.append(f"{self._ip} saddr {endpoint.ip} jump mark-for-masquerade")
        if port.affinity_seconds is not None:
            rules.append(f"update @{self._affinity_set(port, endpoint)} {{ {self._ip} saddr }}")
        target = f"[{endpoint.ip}]" if ":" in endpoint.ip else endpoint.ip
        rules.append(f"meta l4proto {port.protocol} dnat to {target}:{endpoint.port}")
        return self._table.chain(name, rules)

    def _skeleton(self) -> None:
        table, ip = self._table, self._ip
        kind = "ipv4_addr" if self._family == IPV4 else "ipv6_addr"
        triple = f"type {kind} . inet_proto . inet_service : verdict;"
        table.map("service-ips", triple, self._service_ips)
        table.map("service-nodeports", "type inet_proto . inet_service : verdict;", self._node_ports)
        table.map("no-endpoint-services", triple, self._dead_ips)
        table.map("no-endpoint-nodeports", "type inet_proto . inet_service : verdict;", self._dead_ports)
        table.set("cluster-ips", f"type {kind};", self._cluster_ips)
        table.set("nodeport-ips", f"type {kind};", [self._node.underlay(self._family)])

        mark = [] if "masquerade-missing" in self._faults else [f"meta mark set meta mark | {_MASQ}"]
        table.chain("mark-for-masquerade", mark)
        table.chain("reject-chain", ["meta l4proto tcp reject with tcp reset", "reject"])
        table.chain(
            "services",
            [
                f"{ip} daddr . meta l4proto . th dport vmap @service-ips",
                f"{ip} daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports",
                f"{ip} daddr @nodeport-ips goto host-ports",
            ],
        )
        table.chain(
            "no-endpoints",
            [
                f"{ip} daddr . meta l4proto . th dport vmap @no-endpoint-services",
                f"{ip} daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports",
            ],
        )
        unused = (
            [] if "no-endpoints-dropped" in self._faults else [f"{ip} daddr @cluster-ips goto reject-chain"]
        )
        table.chain("nat-prerouting", ["jump services"], "type nat hook prerouting priority dstnat;")
        from_host = [] if "host-clients-ignored" in self._faults else ["jump services"]
        table.chain("nat-output", from_host, "type nat hook output priority -100;")
        table.chain(
            "nat-postrouting",
            [
                f"meta mark & {_MASQ} == 0 return",
                f"meta mark set meta mark ^ {_MASQ}",
                "masquerade fully-random",
            ],
            "type nat hook postrouting priority srcnat;",
        )
        new = "ct state new jump no-endpoints"
        table.chain("filter-input", [new], "type filter hook input priority -110;")
        # ClusterIPs exist nowhere: what the maps above do not translate must not wander off.
        for hook in ("forward", "output"):
            table.chain(
                f"filter-{hook}",
                [new, *(f"ct state new {rule}" for rule in unused)],
                f"type filter hook {hook} priority {-110 if hook == 'forward' else -90};",
            )


def proxy_tables(
    node: NodeAddresses,
    families: Iterable[str],
    ports: Sequence[ServicePort],
    host_ports: Sequence[HostPort],
    faults: Collection[str],
    *,
    last_node: bool,
    zone: str = "",
) -> list[Table]:
    """Compile the tables of one node, one per family.

    ``last_node`` places faults that hit one node only; ``zone`` is the one whose hints are followed, if any.
    """
    return [
        ProxyTable(node, family, faults, last_node=last_node, zone=zone).build(ports, host_ports)
        for family in families
    ]
