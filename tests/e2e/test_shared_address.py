# SPDX-License-Identifier: Apache-2.0
"""kubectl as a user types it: a MetalLB pool, two Services on one address, curl from a host outside the cluster."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("dnslib", reason="the lab's extras are not installed")

from pytest_cniconformance.lab.cluster import LabCluster
from tests.e2e.running import Lab

ADDRESS = "172.30.103.101"
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: ml-inference, labels: {{app: {name}}}}}
spec:
  containers:
  - name: server
    image: python:3.13-alpine
    command: [sh, -c, "mkdir /tmp/www && echo {name} > /tmp/www/index.html && exec python3 -m http.server -d /tmp/www 8080"]
    readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}
---
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata:
  name: {name}-lb
  namespace: ml-inference
  annotations:
    metallb.universe.tf/address-pool: ml-inference-pool
    metallb.universe.tf/allow-shared-ip: fraud-detection-shared
spec:
  type: LoadBalancer
  loadBalancerIP: {address}
  ports: [{{port: {port}, targetPort: 8080, protocol: TCP, name: http}}]
  selector: {{app: {name}}}
---
"""
POOL = """
apiVersion: v1
kind: Namespace
metadata: {name: ml-inference}
---
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: ml-inference-pool, namespace: metallb-system}
spec: {addresses: [172.30.103.100-172.30.103.150]}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: ml-inference, namespace: metallb-system}
spec: {ipAddressPools: [ml-inference-pool]}
---
"""
PORTS = {"model": 8080, "metrics": 9090}


def test_two_services_share_an_address_that_curl_reaches_from_outside(lab: Lab, tmp_path: Path) -> None:
    if missing := [tool for tool in ("kubectl", "curl") if shutil.which(tool) is None]:
        pytest.skip(f"{' and '.join(missing)} not on PATH")
    with LabCluster.start(directory=tmp_path / "lab") as cluster:

        def kubectl(*words: str, stdin: str = "") -> str:
            command = ["kubectl", f"--kubeconfig={cluster.kubeconfig}", *words]
            done = subprocess.run(
                command, input=stdin, capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        pods = "".join(POD.format(name=name) for name in PORTS)
        services = "".join(SERVICE.format(name=n, port=port, address=ADDRESS) for n, port in PORTS.items())
        kubectl("apply", "-f", "-", stdin=POOL + pods + services)
        kubectl("-n", "ml-inference", "wait", "--for=condition=Ready", "pod", "--all", "--timeout=50s")
        listed = json.loads(kubectl("-n", "ml-inference", "get", "services", "-o", "json"))["items"]
        given = {one["metadata"]["name"]: one["status"]["loadBalancer"]["ingress"][0]["ip"] for one in listed}
        assert given == {f"{name}-lb": ADDRESS for name in PORTS}
        for name, port in PORTS.items():
            url = f"http://{ADDRESS}:{port}/"
            curl = [
                *cluster.external,
                "curl",
                "-sS",
                "--retry",
                "20",
                "--retry-connrefused",
                "--retry-delay",
                "1",
            ]
            done = subprocess.run([*curl, url], capture_output=True, text=True, timeout=60, check=False)
            assert (done.stdout.strip(), done.stderr) == (name, "")
