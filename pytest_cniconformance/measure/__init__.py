# SPDX-License-Identifier: Apache-2.0
"""Latency studies, their statistics and the SLO profiles that judge them. Standard library only."""
