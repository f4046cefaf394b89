# SPDX-License-Identifier: Apache-2.0
"""Property tests here are the same on every run, and a busy machine does not fail them."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")
