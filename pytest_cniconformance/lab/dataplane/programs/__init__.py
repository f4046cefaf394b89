# SPDX-License-Identifier: Apache-2.0
"""Programs that run inside a node's network namespace; each reads JSON from stdin and imports nothing of this package."""
