# SPDX-License-Identifier: Apache-2.0
"""Network conformance testing of Kubernetes CNIs, as a pytest plugin."""

__version__ = "0.1.0"
