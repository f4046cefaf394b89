# SPDX-License-Identifier: Apache-2.0
"""The embedded lab: a Kubernetes cluster made of network namespaces, for trying, developing and proving.

It emulates the published dataplane design of a CNI and never stands in for a real cluster in a claim.
"""
