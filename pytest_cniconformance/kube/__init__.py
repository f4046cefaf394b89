# SPDX-License-Identifier: Apache-2.0
"""The connection to a cluster: raw JSON objects, exec streams, waits, ownership, facts and preflight.

Importing this package is cheap: urllib3 and the ``kubernetes`` package are loaded by ``KubeClient.connect``,
the websocket library by the first exec.
"""

from __future__ import annotations

from .client import KubeClient
from .errors import (
    AlreadyExists,
    BadRequest,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    KubeError,
    NotFound,
    ServerError,
    StreamCut,
    TooManyRequests,
    Unauthorized,
    UnknownKind,
    Unreachable,
    WaitTimeout,
)
from .exec import ExecResult, ExecStream
from .facts import ClusterFacts, CniHints, NodeFact, read_facts
from .leftovers import Leftover, find_leftovers, sweep
from .objects import Obj, ObjectMeta, Resource
from .ownership import ANNOTATION_EXPIRES, LABEL_RUN, own
from .preflight import Finding, preflight

__all__ = [
    "ANNOTATION_EXPIRES",
    "LABEL_RUN",
    "AlreadyExists",
    "BadRequest",
    "ClusterFacts",
    "CniHints",
    "Conflict",
    "ExecResult",
    "ExecStream",
    "Finding",
    "Forbidden",
    "Gone",
    "Invalid",
    "KubeClient",
    "KubeError",
    "Leftover",
    "NodeFact",
    "NotFound",
    "Obj",
    "ObjectMeta",
    "Resource",
    "ServerError",
    "StreamCut",
    "TooManyRequests",
    "Unauthorized",
    "UnknownKind",
    "Unreachable",
    "WaitTimeout",
    "find_leftovers",
    "own",
    "preflight",
    "read_facts",
    "sweep",
]
