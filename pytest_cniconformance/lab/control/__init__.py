# SPDX-License-Identifier: Apache-2.0
"""The lab's controllers. Each reacts to store subscriptions only; none polls."""
