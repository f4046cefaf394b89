# SPDX-License-Identifier: Apache-2.0
"""``python3 -m pytest_cniconformance.lab.dns``: the main process of the DNS pod."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from pytest_cniconformance.lab.dns.service import DnsService
from pytest_cniconformance.lab.dns.upstream import Address, host_port

FAULTS = (
    "dns-aaaa-servfail",
    "dns-case-sensitive",
    "dns-delayed",
    "dns-edns-ignored",
    "dns-external-blocked",
    "dns-externalname-dropped",
    "dns-headless-cluster-ip",
    "dns-headless-stale",
    "dns-headless-unready",
    "dns-hostname-missing",
    "dns-late-records",
    "dns-negative-cached",
    "dns-negative-without-soa",
    "dns-nxdomain-as-servfail",
    "dns-nxdomain-cross-namespace",
    "dns-pods-missing",
    "dns-ptr-missing",
    "dns-race",
    "dns-records-kept",
    "dns-replica-broken",
    "dns-slow",
    "dns-srv-wrong-port",
    "dns-stub-ignored",
    "dns-tcp-broken",
    "dns-truncation-silent",
    "dns-version-missing",
    "dns-wrong-service-address",
)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="python3 -m pytest_cniconformance.lab.dns", description=__doc__)
    made.add_argument("--api", required=True, help="URL of the API server, such as https://10.96.0.1:443")
    made.add_argument("--token-file", default="", help="file with the bearer token")
    made.add_argument("--ca", default="", help="file with the CA certificate of the API server")
    made.add_argument("--domain", default="cluster.local", help="cluster domain")
    made.add_argument(
        "--upstream", action="append", default=[], metavar="ADDR", help="server for all other names"
    )
    made.add_argument(
        "--stub", action="append", default=[], metavar="ZONE=ADDR", help="server for the names of one zone"
    )
    made.add_argument(
        "--listen", action="append", default=[], metavar="HOST:PORT", help="DNS; default: all, port 53"
    )
    made.add_argument(
        "--health", default=":8080", metavar="HOST:PORT", help="/health; default: all, port 8080"
    )
    made.add_argument("--ready", default=":8181", metavar="HOST:PORT", help="/ready; default: all, port 8181")
    made.add_argument("--ttl", type=int, default=5, help="seconds; default: 5")
    made.add_argument(
        "--fault", action="append", default=[], choices=FAULTS, metavar="NAME", help=", ".join(FAULTS)
    )
    return made


def _stub(text: str) -> tuple[str, Address]:
    zone, _, server = text.partition("=")
    return zone.strip(".").lower(), host_port(server, 53)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    arguments = parser().parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGINT):
        # As process 1 of its pod, only signals with a handler reach us.
        signal.signal(number, lambda *_: os._exit(0))
    try:
        service = DnsService(
            api=arguments.api,
            token_file=arguments.token_file,
            ca_file=arguments.ca,
            domain=arguments.domain,
            upstreams=[host_port(text, 53) for text in arguments.upstream],
            stubs=dict(_stub(text) for text in arguments.stub),
            faults=frozenset(arguments.fault),
            ttl=arguments.ttl,
        )
        service.start(
            dns=[host_port(text, 53) for text in arguments.listen or [":53"]],
            health=host_port(arguments.health, 8080),
            ready=host_port(arguments.ready, 8181),
        )
    except (OSError, ValueError) as error:
        print(f"dns: {error}", file=sys.stderr)
        return 1
    while True:
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
