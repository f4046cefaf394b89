# SPDX-License-Identifier: Apache-2.0
"""Changes are seen at once, and after every kind of trouble with the watch."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab_dns.conftest import Client, Start, endpoint, endpoints, service
from tests.lab_dns.fake_api import FakeApi

NEW = "new.z.svc.cluster.local"


def test_changes_are_seen(client: Client) -> None:
    client.api.put(service("new", "z", "10.96.0.40"))
    client.until(lambda: client.rcode(NEW) == "NOERROR", "the new Service")
    client.api.put(service("new", "z", "10.96.0.41"))
    client.until(lambda: client.values(NEW) == ["10.96.0.41"], "its new address")
    client.api.delete("Service", "z", "new")
    client.until(lambda: client.rcode(NEW) == "NXDOMAIN", "its end")
    client.api.delete("EndpointSlice", "y", "db-1")
    client.until(lambda: client.rcode("db.y.svc.cluster.local") == "NXDOMAIN", "no endpoints")


def test_a_watch_that_is_cut_off_goes_on_from_where_it_was(client: Client) -> None:
    both_watches_are_open(client)
    client.api.cut("Service")
    client.api.put(service("new", "z", "10.96.0.40"))
    client.until(lambda: client.rcode(NEW) == "NOERROR", "the new Service")
    assert watches(client) == 2
    assert client.api.requests.count("/api/v1/services") == 1


def both_watches_are_open(client: Client) -> None:
    for _ in ("Services", "EndpointSlices"):
        assert client.api.watching.acquire(timeout=10)


def watches(client: Client) -> int:
    return sum(path.startswith("/api/v1/services?watch") for path in client.api.requests)


def test_after_410_everything_is_listed_again(client: Client) -> None:
    both_watches_are_open(client)
    client.api.forget("Service", "x", "web")
    client.api.gone("Service")
    client.until(
        lambda: client.rcode("web.x.svc.cluster.local") == "NXDOMAIN", "the list without the Service"
    )


def test_errors_of_the_api_are_survived(api: FakeApi, start: Start) -> None:
    api.fail_next = [500, 403, 503]
    assert start().values("web.x.svc.cluster.local") == ["10.96.0.20"]


def test_the_token_is_read_for_each_request(api: FakeApi, start: Start, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("one\n", "ascii")
    client = start(token_file=str(token))
    assert client.values("web.x.svc.cluster.local") == ["10.96.0.20"]
    token.write_text("two\n", "ascii")
    both_watches_are_open(client)
    api.gone("EndpointSlice")
    client.until(lambda: "Bearer two" in api.tokens, "the new token")
    assert "Bearer one" in api.tokens


def test_a_url_that_is_none_is_refused(start: Start, api: FakeApi) -> None:
    api.url = "10.96.0.1:443"
    with pytest.raises(ValueError, match="must be a URL"):
        start()


def test_an_endpoint_slice_that_changes_its_owner_leaves_the_old_one(client: Client) -> None:
    client.api.put(service("db2", "y"))
    client.api.put(endpoints("db2", "y", endpoint("10.244.1.5"), name="db-1"))
    client.until(lambda: client.rcode("db2.y.svc.cluster.local") == "NOERROR", "the new owner")
    assert client.rcode("db.y.svc.cluster.local") == "NXDOMAIN"
