# SPDX-License-Identifier: Apache-2.0
"""The name server of the outside host, message by message."""

from __future__ import annotations

import pytest
from dnslib import QTYPE, RCODE, DNSRecord

from pytest_cniconformance.lab.outside import NAME, answer

ADDRESSES = ["172.30.2.1", "fd00:172:30::2:1"]


def _ask(name: str, kind: str) -> DNSRecord:
    reply = answer(DNSRecord.question(name, kind).pack(), ADDRESSES)
    assert reply is not None
    return DNSRecord.parse(reply)


@pytest.mark.parametrize(("kind", "address"), [("A", ADDRESSES[0]), ("AAAA", ADDRESSES[1])])
def test_its_own_name_has_its_addresses(kind: str, address: str) -> None:
    reply = _ask(NAME.upper(), kind)
    assert [(QTYPE[record.rtype], str(record.rdata)) for record in reply.rr] == [(kind, address)]
    assert reply.header.get_rcode() == RCODE.NOERROR


def test_another_type_of_its_own_name_is_empty_but_exists() -> None:
    reply = _ask(NAME, "TXT")
    assert (reply.rr, reply.header.get_rcode()) == ([], RCODE.NOERROR)


def test_every_other_name_does_not_exist() -> None:
    assert _ask("example.org", "A").header.get_rcode() == RCODE.NXDOMAIN


@pytest.mark.parametrize("junk", [b"", b"\x00" * 12, b"\x00" * 12 + b"\x3f" * 8])
def test_junk_gets_no_answer(junk: bytes) -> None:
    assert answer(junk, ADDRESSES) is None
