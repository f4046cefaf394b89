# SPDX-License-Identifier: Apache-2.0
"""One run record (schema-versioned JSON) and its views: HTML, Markdown, JUnit, Allure, terminal.

``record.json`` is the truth; every other format is a pure function of it. Nothing here imports pytest.
"""
