# SPDX-License-Identifier: Apache-2.0
"""Reference semantics at size: 1,000 pods under 1,000 policies, by ``reach`` and by the command."""

from __future__ import annotations

import functools
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _timing import measure, show

from pytest_cniconformance.policy import ClusterState, reach
from pytest_cniconformance.policy.builders import (
    expression,
    matching,
    network_policy,
    peer,
    port,
    rule,
    to_yaml,
)

PODS = POLICIES = 1000
NAMESPACES, APPS, TIERS = 20, 50, 5


def pods() -> list[dict[str, Any]]:
    """Return pods of many label sets; every third one names its port."""
    made = []
    for i in range(PODS):
        ports = [{"containerPort": 80, "name": "web"} if i % 3 == 0 else {"containerPort": 80}]
        made.append(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": f"p{i}",
                    "namespace": f"n{i % NAMESPACES}",
                    "labels": {"app": f"a{i % APPS}", "tier": f"t{i % TIERS}", "id": f"i{i}"},
                },
                "spec": {"nodeName": f"node{i % 10}", "containers": [{"name": "c", "ports": ports}]},
                "status": {"podIP": f"10.0.{i // 250}.{i % 250 + 1}"},
            }
        )
    return made


def policies() -> list[dict[str, Any]]:
    """Return policies of every kind of peer and port, about fifty of them in each namespace."""
    random.seed(1)
    app, tier = (lambda: f"a{random.randrange(APPS)}"), (lambda: f"t{random.randrange(TIERS)}")
    made = []
    for i in range(POLICIES):
        where = f"n{random.randrange(NAMESPACES)}"
        peers = [
            peer({"app": app()}),
            peer({"app": app()}, {"kubernetes.io/metadata.name": where}),
            peer(matching(expression("tier", "NotIn", tier())), {}),
            peer(cidr=f"10.0.{random.randrange(4)}.0/25", except_=[f"10.0.{random.randrange(4)}.0/28"]),
        ]
        if peers[3]["ipBlock"]["except"][0].split(".")[2] != peers[3]["ipBlock"]["cidr"].split(".")[2]:
            del peers[3]["ipBlock"]["except"]
        rules = [rule(random.sample(peers, 2), [port(random.choice([80, 443, "web"]))]) for _ in range(2)]
        made.append(
            network_policy(
                f"p{i}",
                f"n{i % NAMESPACES}",
                {"app": app()} if i % 2 else {"tier": tier()},
                ingress=rules,
                egress=rules if i % 4 == 0 else None,
                types=["Ingress", "Egress"] if i % 4 == 0 else ["Ingress"],
            )
        )
    return made


def main() -> None:
    """Print the figures."""
    objs = [*pods(), *policies()]
    show("state of 1,000 pods × 1,000 policies", measure(lambda: ClusterState.from_objects(objs), repeat=5))
    show(
        "the same, and reach for one port",
        measure(lambda: reach(ClusterState.from_objects(objs), 80), repeat=5),
        2.0,
    )
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "objects.json").write_text(json.dumps({"kind": "List", "items": objs}), "utf-8")
        Path(directory, "objects.yaml").write_text(to_yaml(*objs), "utf-8")
        command = [str(Path(sys.executable).with_name("cniconformance")), "evaluate", "--port", "80"]
        for name, options, target in (
            ("objects.json", [], 10.0),
            ("objects.yaml", [], 10.0),
            ("objects.json", ["--json"], 20.0),
        ):
            arguments = [*command, str(Path(directory, name)), *options]
            run = functools.partial(subprocess.run, arguments, check=True, stdout=subprocess.DEVNULL)
            show(" ".join(["evaluate", name, *options]), measure(run, repeat=3), target)


if __name__ == "__main__":
    main()
