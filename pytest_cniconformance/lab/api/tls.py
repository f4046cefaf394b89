# SPDX-License-Identifier: Apache-2.0
"""The lab's certificate authority and the API server's certificate."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    from collections.abc import Iterable

NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "127.0.0.1",
    "172.30.0.1",
    "10.96.0.1",
    "::1",
    "fd00:172:30::1",
    "fd00:10:96::1",
)
"""What clients may call the API server: on the host, on the nodes, in pods."""


@dataclass(frozen=True, slots=True)
class ServerTls:
    """The server's TLS context and the CA certificate (PEM) that clients need to trust."""

    context: ssl.SSLContext
    ca_pem: bytes


def make_tls(names: Iterable[str] = NAMES) -> ServerTls:
    """Create a CA and a server certificate (EC keys: a millisecond, and cheap handshakes)."""
    authority = trustme.CA(organization_name="cniconformance lab")
    certificate = authority.issue_cert(*names, common_name="kube-apiserver")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    certificate.configure_cert(context)
    return ServerTls(context, authority.cert_pem.bytes())
