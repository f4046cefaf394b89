# SPDX-License-Identifier: Apache-2.0
"""Bodies as kubectl 1.32 sends them, encoded here by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_cniconformance.lab.api.errors import ApiError
from pytest_cniconformance.lab.api.protobuf import MAGIC, decode_body

if TYPE_CHECKING:
    from tests.lab_api.conftest import Api


def varint(value: int) -> bytes:
    head = b""
    while value > 0x7F:
        head += bytes([value & 0x7F | 0x80])
        value >>= 7
    return head + bytes([value])


def field(number: int, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def body(version: str, kind: str, message: bytes) -> bytes:
    types = field(1, version) + field(2, kind)
    return MAGIC + field(1, types) + field(2, message) + field(3, "") + field(4, "")


def test_a_service() -> None:
    target = field(1, 1) + field(2, 0) + field(3, "http")
    port = field(1, "web") + field(2, "TCP") + field(3, 80) + field(4, target) + field(5, 0)
    label = field(1, "app") + field(2, "web" * 60)
    spec = field(1, port) + field(2, label) + field(4, "NodePort") + field(13, 0)
    decoded = decode_body(body("v1", "Service", field(1, field(1, "s") + field(2, "")) + field(2, spec)))
    assert decoded == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s"},
        "spec": {
            "ports": [{"name": "web", "protocol": "TCP", "port": 80, "targetPort": "http"}],
            "selector": {"app": "web" * 60},
            "type": "NodePort",
            "publishNotReadyAddresses": False,
        },
    }


def test_unknown_kinds_and_nonsense_are_refused() -> None:
    with pytest.raises(ApiError) as caught:
        decode_body(body("v1", "Pod", b""))
    assert caught.value.code == 415
    with pytest.raises(ApiError) as caught:
        decode_body(MAGIC + b"\xff\xff")
    assert caught.value.code == 400


def test_the_server_takes_them(api: Api, namespace: str) -> None:
    entry = field(1, "a") + field(2, "b")
    data = body("v1", "ConfigMap", field(1, field(1, "cm")) + field(2, entry))
    response = api.session.post(
        f"{api.url}/api/v1/namespaces/{namespace}/configmaps",
        data=data,
        headers={"Content-Type": "application/vnd.kubernetes.protobuf"},
        timeout=10,
    )
    assert response.status_code == 201
    assert response.json()["data"] == {"a": "b"}
