# SPDX-License-Identifier: Apache-2.0
"""Values that every layer speaks: no I/O, no Kubernetes client, no pytest."""
