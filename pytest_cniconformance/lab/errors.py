# SPDX-License-Identifier: Apache-2.0
"""The one exception that a lab which cannot work raises."""

from __future__ import annotations


class LabError(Exception):
    """The lab cannot start or go on; the text says what happened and what to do about it."""
