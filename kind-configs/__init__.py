# SPDX-License-Identifier: Apache-2.0
"""kind cluster configurations and install recipes, one pair per CNI."""
