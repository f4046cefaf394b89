# SPDX-License-Identifier: Apache-2.0
"""Who answers for an address on the link: every hardware address, where a cache would show the last one only."""

# pathlib would cost more than the rest of the start-up:
# ruff: noqa: PTH123

from __future__ import annotations

import select
import socket
import struct

from .loop import now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

ARP, IPV6 = 0x0806, 0x86DD
ROUNDS = 4
_SOLICITED = 0x40  # the S flag of a neighbour advertisement, RFC 4861 section 4.4
_GETNEIGH, _NEWNEIGH, _DONE, _ERROR = 30, 28, 3, 2  # rtnetlink(7)
_NDA_DST, _NDA_LLADDR = 1, 2
_LEARNT = 0x02 | 0x04 | 0x08 | 0x10  # reachable, stale, delay, probe


def link_owners(request: dict[str, Any]) -> dict[str, Any]:
    """Ask every link who has ``host``, four times within ``wait`` milliseconds; return the hardware addresses.

    ARP probes (RFC 5227, which leave no trace in caches) or neighbour solicitations (RFC 4861). ``error`` says
    why nothing could be asked: mostly that the right to open a packet socket (CAP_NET_RAW) is missing. ``remembered``
    is what this host's own neighbour table has: it goes on sending there for a while when nobody answers any more.
    """
    host, wait = request["host"], request.get("wait", 1000) / 1000.0
    six = ":" in host
    links: dict[socket.socket, bytes] = {}
    found: dict[str, Any] = {"owners": [], "error": "", "remembered": _remembered(host)}
    try:
        for _, device in socket.if_nameindex():
            if device == "lo":
                continue
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(IPV6 if six else ARP))
            links[raw] = b""
            raw.bind((device, IPV6 if six else ARP))
            mac, own = raw.getsockname()[4], _link_local(device)
            if len(mac) == 6 and (own or not six):
                links[raw] = _solicitation(mac, own, host) if six else _arp_probe(mac, host)
        found["owners"] = _collect(links, host, six, wait)
    except OSError as error:
        found["error"] = error.strerror or str(error)
    finally:
        for raw in links:
            raw.close()
    return found


def _remembered(host: str) -> str:
    """Return the hardware address that the kernel has learnt for ``host``, empty if it has none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    address = socket.inet_pton(family, host)
    query = struct.pack("=IHHII", 28, _GETNEIGH, 0x301, 1, 0) + struct.pack("=B3xiHBB", family, 0, 0, 0, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as table:
            table.settimeout(1)
            table.send(query)
            while True:
                data = table.recv(1 << 16)
                while len(data) >= 16:
                    length, kind = struct.unpack_from("=IH", data)
                    if kind in (_DONE, _ERROR):
                        return ""
                    entry = dict(_attributes(data[28:length]))
                    (state,) = struct.unpack_from("=H", data, 24)
                    if kind == _NEWNEIGH and entry.get(_NDA_DST) == address and state & _LEARNT:
                        return entry.get(_NDA_LLADDR, b"").hex(":")
                    data = data[(length + 3) & ~3 :]
    except OSError:
        return ""  # not allowed to look: then nothing is known


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            return
        yield kind, data[4:length]
        data = data[(length + 3) & ~3 :]


def _link_local(device: str) -> bytes:
    """Return the device's link-local IPv6 address, empty if it has none."""
    try:
        with open("/proc/net/if_inet6") as table:
            for line in table:
                words = line.split()
                if words[5] == device and words[0].startswith("fe80"):
                    return bytes.fromhex(words[0])
    except OSError:
        pass  # no IPv6 here
    return b""


def _arp_probe(mac: bytes, host: str) -> bytes:
    head = b"\xff" * 6 + mac + struct.pack("!H", ARP) + b"\x00\x01\x08\x00\x06\x04\x00\x01"
    return head + mac + bytes(10) + socket.inet_aton(host)


def _solicitation(mac: bytes, source: bytes, host: str) -> bytes:
    """Build a neighbour solicitation to the solicited-node multicast address."""
    target = socket.inet_pton(socket.AF_INET6, host)
    group = socket.inet_pton(socket.AF_INET6, "ff02::1:ff00:0")[:13] + target[13:]
    body = struct.pack("!BBHI", 135, 0, 0, 0) + target + b"\x01\x01" + mac
    pseudo = source + group + struct.pack("!I3xB", len(body), 58) + body
    total = sum(struct.unpack(f"!{len(pseudo) // 2}H", pseudo))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    body = body[:2] + struct.pack("!H", ~total & 0xFFFF) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + source + group
    return b"\x33\x33" + group[12:] + mac + struct.pack("!H", IPV6) + header + body


def _collect(links: dict[socket.socket, bytes], host: str, six: bool, wait: float) -> list[str]:
    address = socket.inet_pton(socket.AF_INET6 if six else socket.AF_INET, host)
    owners: dict[str, None] = {}
    for _ in range(ROUNDS):
        for raw, frame in links.items():
            try:
                raw.send(frame)
            except OSError:
                pass  # a link that is down has no owner to tell of
        end = now() + wait / ROUNDS
        while ready := select.select(list(links), [], [], max(0.0, end - now()))[0]:
            for raw in ready:
                try:
                    packet = raw.recv(2048)
                except OSError:
                    # So a link that is down, or goes, wakes its socket; the others may still tell.
                    del links[raw]
                    raw.close()
                    continue
                # Announcements that nobody asked for are no answers: what was announced may have fallen silent.
                if six:
                    # A solicited neighbour advertisement (type 136) for the target; its owner is the frame's sender.
                    advert = (
                        packet[20:21] == b"\x3a" and packet[54:55] == b"\x88" and packet[62:78] == address
                    )
                    if advert and packet[58] & _SOLICITED:
                        owners[packet[6:12].hex(":")] = None
                elif packet[20:22] == b"\x00\x02" and packet[28:32] == address != packet[38:42]:
                    owners[packet[22:28].hex(":")] = None
            if now() >= end:
                break
    return sorted(owners)
