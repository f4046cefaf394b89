# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy: ipBlock and except, on addresses outside the cluster.

The API defines an ipBlock on such addresses alone. One server outside is enough for every boundary: the blocks are
laid round its address. What a block means for pods, nodes and Services is a trait.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

import pytest

from pytest_cniconformance.fixtures import requirement
from pytest_cniconformance.fixtures.grid import Grid
from pytest_cniconformance.fixtures.outside import OutsideChecks
from pytest_cniconformance.fixtures.sources import NETPOL_API, NETPOL_DOCS
from pytest_cniconformance.model.failure import Inconclusive
from pytest_cniconformance.policy.builders import EGRESS, Obj, Rule, network_policy, peer, port, rule

pytestmark = pytest.mark.netpol

Network = IPv4Network | IPv6Network


class _Blocks:
    """Egress policies for x with blocks laid round the address of a server outside."""

    def __init__(self, checks: OutsideChecks) -> None:
        self._checks = checks
        self._turns = 0
        self.host: Network = ip_network(checks.server.address)
        checks.check("no policy")

    def wider(self, bits: int) -> Network:
        """Return the block round the server that is so many bits shorter than its address."""
        return self.host.supernet(prefixlen_diff=bits)

    def beside(self, bits: int) -> Network:
        """Return the block of that size next to :meth:`wider`: the same but for its last bit."""
        near = self.wider(bits)
        return next(half for half in near.supernet().subnets() if half != near)

    def check(self, title: str, *rules: Rule, more: tuple[Obj, ...] = ()) -> None:
        """Apply one policy with these egress rules, and ``more`` policies, and ask."""
        # A rule that alternates between two namespaces shows in the matrix of pods that the update has arrived.
        self._turns += 1
        marker = rule([peer(namespaces={"ns": "yz"[self._turns % 2]})], [port(81, "UDP")])
        grid = self._checks.grid
        grid.apply(network_policy("blocks", "x", {}, egress=[*rules, marker], types=[EGRESS]), *more)
        self._checks.check(title)


def _to(cidr: Network, *except_: Network) -> Rule:
    return rule([_block(cidr, *except_)])


def _block(cidr: Network, *except_: Network) -> Obj:
    return peer(cidr=str(cidr), except_=[str(e) for e in except_] or None)


@pytest.mark.smoke
@requirement("NP-IPB-1", feature="networkpolicy/ipblock", source=NETPOL_API)
def test_except_is_cut_out_of_its_block_only(cni_outside: OutsideChecks) -> None:
    """An ipBlock allows its range without `except`; another peer or rule may still allow what `except` cut out."""
    blocks = _Blocks(cni_outside)
    host, wide = blocks.host, blocks.wider(16)
    blocks.check(f"to {wide}", _to(wide))
    blocks.check(f"to {wide} except the server", _to(wide, host))
    blocks.check("another peer allows the server", rule([_block(wide, host), _block(host)]))
    blocks.check("another rule allows the server", _to(wide, host), _to(host))


@requirement("NP-IPB-1-POLICIES", feature="networkpolicy/ipblock", source=NETPOL_API)
def test_except_denies_nothing_that_another_policy_allows(cni_outside: OutsideChecks) -> None:
    """What one policy excepts, a second policy of the same pod may allow."""
    blocks = _Blocks(cni_outside)
    host, wide = blocks.host, blocks.wider(16)
    blocks.check("excepted", _to(wide, blocks.wider(8)))
    second = network_policy(
        "second", "x", {}, egress=[_to(blocks.wider(4), blocks.beside(0))], types=[EGRESS]
    )
    blocks.check("and allowed by a second policy", _to(wide, blocks.wider(8)), more=(second,))
    narrow = network_policy("second", "x", {}, egress=[_to(blocks.wider(4), host)], types=[EGRESS])
    blocks.check("excepted by both", _to(wide, blocks.wider(8)), more=(narrow,))


@requirement("NP-IPB-1-PORTS", feature="networkpolicy/ipblock", source=NETPOL_API)
def test_equal_blocks_keep_the_ports_of_their_own_rules(cni_outside: OutsideChecks) -> None:
    """The same block in two rules with different ports allows both, and no third port."""
    blocks = _Blocks(cni_outside)
    first, second, _ = _three_ports(cni_outside)
    wide = [_block(blocks.wider(8))]
    blocks.check("the first port", rule(wide, [first]))
    blocks.check("the first and the second, by two rules", rule(wide, [first]), rule(wide, [second]))
    other = network_policy("second", "x", {}, egress=[rule(wide, [second])], types=[EGRESS])
    blocks.check("the same by two policies", rule(wide, [first]), more=(other,))


@requirement("NP-IPB-2", feature="networkpolicy/ipblock", source=NETPOL_API)
def test_blocks_end_where_their_prefix_ends(cni_outside: OutsideChecks) -> None:
    """A block of any length covers its addresses and not the block beside it."""
    blocks = _Blocks(cni_outside)
    for bits in (0, 1, 7, 8, 9):
        blocks.check(f"the block beside, {blocks.beside(bits)}", _to(blocks.beside(bits)))
        blocks.check(f"the block itself, {blocks.wider(bits)}", _to(blocks.wider(bits)))


@requirement("NP-IPB-2-EXCEPT", feature="networkpolicy/ipblock", source=NETPOL_API)
def test_except_ends_where_its_prefixes_end(cni_outside: OutsideChecks) -> None:
    """An except list cuts out each of its blocks, and not what lies beside them."""
    blocks = _Blocks(cni_outside)
    wide = blocks.wider(16)
    near = [blocks.beside(bits) for bits in (0, 1, 3, 8)]
    blocks.check("all but its neighbours", _to(wide, *near))
    blocks.check("all but the server, last of the list", _to(wide, *near, blocks.host))
    blocks.check("all but the server's half", _to(wide, blocks.wider(15)))
    blocks.check("all but the other half", _to(wide, blocks.beside(15)))
    blocks.check("excepts in one another", _to(wide, blocks.wider(8), blocks.wider(4), blocks.beside(12)))


@requirement("NP-IPB-2-ALL", feature="networkpolicy/ipblock", source=NETPOL_API)
def test_blocks_may_be_all_addresses_or_half_of_them(cni_outside: OutsideChecks) -> None:
    """A block of length zero covers every address of its family; of its two halves one covers the server."""
    blocks = _Blocks(cni_outside)
    bits = blocks.host.prefixlen
    everything, half, other = blocks.wider(bits), blocks.wider(bits - 1), blocks.beside(bits - 1)
    blocks.check("everything", _to(everything))
    blocks.check("the other half", _to(other))
    blocks.check("the server's half", _to(half))
    blocks.check("everything but the server", _to(everything, blocks.host))
    blocks.check("everything but the block beside", _to(everything, blocks.beside(0)))


@requirement("NP-IPB-2-OVERLAP", feature="networkpolicy/ipblock", source=NETPOL_API)
def test_overlapping_blocks_add_up(cni_outside: OutsideChecks) -> None:
    """Blocks that lie in one another or overlap by their excepts allow what any of them allows."""
    blocks = _Blocks(cni_outside)
    wide, middle, narrow = blocks.wider(16), blocks.wider(8), blocks.wider(2)
    holes = _block(wide, middle), _block(middle, narrow), _block(narrow, blocks.host)
    blocks.check("three blocks, each with a hole for the next; the last excepts the server", rule(holes))
    filled = (*holes[:2], _block(narrow, blocks.beside(0)))
    blocks.check("the last hole is beside the server", rule(filled))
    blocks.check("the same, in the opposite order", rule(filled[::-1]))


@requirement("NP-IPB-2-PORT", feature="networkpolicy/ipblock", source=NETPOL_API)
def test_a_block_and_a_port_must_both_match(cni_outside: OutsideChecks) -> None:
    """A rule with a block and a port opens neither the port to other addresses nor the block on other ports."""
    blocks = _Blocks(cni_outside)
    first, second, _ = _three_ports(cni_outside)
    blocks.check("the block beside, on the first port", rule([_block(blocks.beside(4))], [first]))
    blocks.check("the server's block, on the second port", rule([_block(blocks.wider(4))], [second]))
    crossed = rule([_block(blocks.beside(4))], [first]), rule([_block(blocks.wider(4))], [second])
    blocks.check("both rules: not crossed", *crossed)


def _three_ports(checks: OutsideChecks) -> list[Obj]:
    """Return policy entries for the ports of the server."""
    found = [port(number, protocol) for number, protocol in checks.server.ports]
    if len(found) < 3:
        raise Inconclusive(
            f"{checks.server.description} serves {len(found)} ports that pods reach; this takes three"
        )
    return found


@requirement("NP-IPB-7", feature="networkpolicy/ipblock", source=NETPOL_API)
def test_a_block_of_one_family_does_not_open_the_other(cni_grid: Grid, cni_outside: OutsideChecks) -> None:
    """A block of IPv4 addresses opens no IPv6 traffic, and the other way round."""
    if len(cni_grid.facts.families) < 2:
        pytest.skip(f"the pods of this cluster have {cni_grid.facts.families[0]} addresses only")
    cni_outside.check("no policy")
    for family, cidr in (("ipv4", "0.0.0.0/0"), ("ipv6", "::/0")):
        to_all = [rule([peer(cidr=cidr)])]
        cni_grid.apply(network_policy("one-family", "x", {}, egress=to_all, types=[EGRESS]))
        cni_outside.check(f"egress to {cidr}, outside: {family} only")


@requirement("NP-IPB-8", feature="networkpolicy/ipblock", source=NETPOL_DOCS)
def test_the_internet_without_the_cluster(cni_grid: Grid, cni_outside: OutsideChecks) -> None:
    """All addresses except those of pods: outside is reached and pods are not."""
    cni_outside.check("no policy")
    pods = [ip for pod in cni_grid.pods.values() if not pod.host_network for ip in pod.addresses.values()]
    whole = [
        peer(cidr=cidr, except_=[str(ip_network(ip)) for ip in pods if (":" in ip) == (":" in cidr)])
        for cidr in ("0.0.0.0/0", "::/0")
        if any((":" in ip) == (":" in cidr) for ip in pods)
    ]
    cni_grid.apply(network_policy("internet-only", "x", {}, egress=[rule(whole)], types=[EGRESS]))
    cni_grid.check("no pod is reached", sources=["x/a", "x/c"], ports=(80,))
    cni_outside.check("outside is reached")
