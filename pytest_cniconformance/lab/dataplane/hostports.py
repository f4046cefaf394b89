# SPDX-License-Identifier: Apache-2.0
"""Host ports of pods, as the portmap plugin and its kin give them: a port of the node leads to the pod."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.dataplane.addressing import family_of, nft_family

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from pytest_cniconformance.lab.dataplane.seams import Obj, PodNet

_ANY = ("", "0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class HostPort:
    """One mapping on one node: (``host_ip`` or any address of the node, ``number``) to a pod's port."""

    node: str
    protocol: str
    host_ip: str
    number: int
    pod_ip: str
    target: int

    def rules(self, masquerade: str) -> list[str]:
        """Return the rules that translate; a pod that is sent to itself must see another source."""
        ip = nft_family(family_of(self.pod_ip))
        asked = f"{ip} daddr {self.host_ip} " if self.host_ip not in _ANY else ""
        match = f"{asked}{self.protocol} dport {self.number}"
        target = f"[{self.pod_ip}]" if ip == "ip6" else self.pod_ip
        return [
            f"{match} {ip} saddr {self.pod_ip} {masquerade}",
            f"{match} meta l4proto {self.protocol} dnat to {target}:{self.target}",
        ]


def host_ports(
    pods: Iterable[Obj], connected: Mapping[str, tuple[str, PodNet]], faults: Collection[str]
) -> tuple[HostPort, ...]:
    """Collect the host ports of all connected pods."""
    found = []
    for pod in pods if "hostport-missing" not in faults else ():
        node, net = connected.get(pod["metadata"].get("uid", ""), ("", None))
        if net is None or net.host_network:
            continue
        for container in pod["spec"].get("containers") or []:
            for port in container.get("ports") or []:
                protocol = (port.get("protocol") or "TCP").lower()
                if not port.get("hostPort") or (protocol == "udp" and "hostport-tcp-only" in faults):
                    continue
                wanted = port.get("hostIP") or ""
                found += [
                    HostPort(node, protocol, wanted, int(port["hostPort"]), ip, int(port["containerPort"]))
                    for ip in net.ips
                    if wanted in _ANY or family_of(wanted) == family_of(ip)
                ]
    return tuple(found)
