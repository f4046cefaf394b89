# SPDX-License-Identifier: Apache-2.0
"""What all request handlers share, and the request's own context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from pytest_cniconformance.lab.api.auth import User
from pytest_cniconformance.lab.api.lists import Snapshots
from pytest_cniconformance.lab.api.rbac import Authorizer

if TYPE_CHECKING:
    from pytest_cniconformance.lab.api.auth import Tokens
    from pytest_cniconformance.lab.api.seams import NodeAgents
    from pytest_cniconformance.lab.api.store import Store
    from pytest_cniconformance.lab.api.writes import Writes


class Server:
    """The state behind the API: store, rules, tokens, nodes."""

    def __init__(self, store: Store, writes: Writes, agents: NodeAgents, tokens: Tokens) -> None:
        self.store = store
        self.writes = writes
        self.kinds = writes.kinds
        self.schemas = writes.schemas
        self.agents = agents
        self.tokens = tokens
        self.authorizer = Authorizer(store)
        self.snapshots = Snapshots()


@dataclass(frozen=True, slots=True)
class Call:
    """One request with its authenticated user."""

    server: Server
    request: web.Request
    user: User


SERVER: web.AppKey[Server] = web.AppKey("server")
