# SPDX-License-Identifier: Apache-2.0
"""A node of the lab: its kubelet, and the small process that starts containers for all nodes."""
