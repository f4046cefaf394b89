# SPDX-License-Identifier: Apache-2.0
"""The lab's cluster DNS: a server that runs as a pod and answers for Services as the Kubernetes DNS spec says.

It is started by ``python3 -m pytest_cniconformance.lab.dns`` and must be up within a fraction of a second:
threads and plain sockets instead of asyncio and http.client, whose imports alone would cost as much.
Specification: https://github.com/kubernetes/dns/blob/master/docs/specification.md (1.1.0).
"""
