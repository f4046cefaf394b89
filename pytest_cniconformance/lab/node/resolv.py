# SPDX-License-Identifier: Apache-2.0
"""The files through which a pod knows names: /etc/resolv.conf and /etc/hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.objects import name_of, namespace_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pytest_cniconformance.lab.api.objects import Obj

_HOSTS = """\
# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""


def resolv_conf(
    pod: Obj,
    *,
    cluster_dns: Sequence[str],
    upstream: Sequence[str],
    domain: str = "cluster.local",
    faults: Collection[str] = (),
) -> str:
    """Return a pod's resolv.conf, as dnsPolicy and dnsConfig ask for it."""
    spec = pod["spec"]
    namespace = namespace_of(pod)
    policy = spec.get("dnsPolicy", "ClusterFirst")
    if policy == "ClusterFirst" and spec.get("hostNetwork"):
        policy = "Default"
    if policy == "ClusterFirstWithHostNet" and "resolv-hostnetwork-default" in faults:
        policy = "Default"
    servers: list[str] = []
    search: list[str] = []
    options: dict[str, str | None] = {}
    if policy in ("ClusterFirst", "ClusterFirstWithHostNet"):
        servers = list(cluster_dns)
        search = [f"{namespace}.svc.{domain}", f"svc.{domain}", domain]
        options = {"ndots": "1" if "resolv-ndots-one" in faults else "5"}
        if "resolv-search-wrong" in faults and namespace != "kube-system":
            search = ["lab.example"]
    elif policy == "Default":
        servers = list(upstream)
    config = spec.get("dnsConfig") or {}
    servers += [server for server in config.get("nameservers") or [] if server not in servers]
    search += [entry for entry in config.get("searches") or [] if entry not in search]
    for option in config.get("options") or []:
        options[option["name"]] = option.get("value")
    lines = [f"search {' '.join(search)}"] if search else []
    lines += [f"nameserver {server}" for server in servers]
    if options:
        texts = (name if value is None else f"{name}:{value}" for name, value in options.items())
        lines.append(f"options {' '.join(texts)}")
    return "".join(f"{line}\n" for line in lines)


def hostname_of(pod: Obj, node: str) -> str:
    """Return the name that ``hostname`` prints in the pod."""
    if pod["spec"].get("hostNetwork"):
        return node
    # The kernel's limit, which the kubelet also cuts to; a cut must not end in punctuation.
    return str(pod["spec"].get("hostname") or name_of(pod))[:63].rstrip("-.")


def hosts_file(pod: Obj, ips: Sequence[str], hostname: str, *, domain: str = "cluster.local") -> str:
    """Return a pod's /etc/hosts."""
    text = _HOSTS
    subdomain = pod["spec"].get("subdomain")
    names = hostname
    if subdomain:
        names = f"{hostname}.{subdomain}.{namespace_of(pod)}.svc.{domain}\t{hostname}"
    text += "".join(f"{ip}\t{names}\n" for ip in ips)
    if aliases := pod["spec"].get("hostAliases"):
        text += "\n# Entries added by HostAliases.\n"
        text += "".join(
            f"{alias['ip']}\t" + "\t".join(alias.get("hostnames") or []) + "\n" for alias in aliases
        )
    return text
