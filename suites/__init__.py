# SPDX-License-Identifier: Apache-2.0
"""The bundled checks, one module per marker group."""
