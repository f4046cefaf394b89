# SPDX-License-Identifier: Apache-2.0
"""The lab's Kubernetes API server: a versioned store and the HTTP application over it."""
