# SPDX-License-Identifier: Apache-2.0
"""Random cases of NetworkPolicy v1: what they are, how they are drawn, and how they are made smaller."""
