# SPDX-License-Identifier: Apache-2.0
"""Collecting field errors, and the name formats that many kinds share."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.api.errors import Cause

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_cniconformance.lab.api.objects import Obj

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
PORT_NAME = re.compile(r"[-a-z0-9]+")

LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and "
    "end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
    "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for "
    "validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_QUALIFIED_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for "
    "validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
PORT_RANGE = "must be between 1 and 65535, inclusive"


class Collector:
    """Gathers causes; each method is one kind of field error of the API server."""

    def __init__(self) -> None:
        self.causes: list[Cause] = []

    def _add(self, field: str, reason: str, message: str) -> None:
        self.causes.append(Cause(field, reason, message))

    def required(self, field: str, detail: str = "") -> None:
        """Record that a value is missing."""
        self._add(field, "FieldValueRequired", f"Required value: {detail}" if detail else "Required value")

    def invalid(self, field: str, value: Any, detail: str) -> None:
        """Record that a value is malformed."""
        self._add(field, "FieldValueInvalid", f"Invalid value: {shown(value)}: {detail}")

    def unsupported(self, field: str, value: Any, allowed: Iterable[str]) -> None:
        """Record that a value is not one of an enumeration."""
        names = ", ".join(f'"{name}"' for name in sorted(allowed))
        text = f"Unsupported value: {shown(value)}: supported values: {names}"
        self._add(field, "FieldValueNotSupported", text)

    def duplicate(self, field: str, value: Any) -> None:
        """Record that a value that must be unique appears again."""
        self._add(field, "FieldValueDuplicate", f"Duplicate value: {shown(value)}")

    def forbidden(self, field: str, detail: str) -> None:
        """Record that a value may not be given here."""
        self._add(field, "FieldValueForbidden", f"Forbidden: {detail}")

    def not_found(self, field: str, value: Any) -> None:
        """Record that a value refers to something that does not exist."""
        self._add(field, "FieldValueNotFound", f"Not found: {shown(value)}")

    def too_long(self, field: str, limit: int) -> None:
        """Record that a value is longer than ``limit`` bytes."""
        self._add(field, "FieldValueTooLong", f"Too long: may not be more than {limit} bytes")

    # --- formats -----------------------------------------------------------------------------------------------

    def dns_label(self, field: str, value: Any) -> None:
        """Check an RFC 1123 label (63 characters)."""
        self._format(field, value, LABEL, LABEL_TEXT, 63)

    def dns_subdomain(self, field: str, value: Any) -> None:
        """Check an RFC 1123 subdomain (253 characters)."""
        self._format(field, value, SUBDOMAIN, SUBDOMAIN_TEXT, 253)

    def dns_1035_label(self, field: str, value: Any) -> None:
        """Check an RFC 1035 label: what a Service may be named."""
        self._format(field, value, LABEL_1035, LABEL_1035_TEXT, 63)

    def _format(self, field: str, value: Any, pattern: re.Pattern[str], text: str, limit: int) -> None:
        if len(str(value)) > limit:
            self.invalid(field, value, f"must be no more than {limit} bytes")
        if not pattern.fullmatch(str(value)):
            self.invalid(field, value, text)

    def port_number(self, field: str, value: Any) -> None:
        """Check a port number, 1 to 65535."""
        if not 1 <= value <= 65535:
            self.invalid(field, value, PORT_RANGE)

    def port_name(self, field: str, value: str) -> None:
        """Check an IANA service name: at most 15 lower case letters, digits and dashes, with a letter."""
        for bad, text in (
            (len(value) > 15, "must be no more than 15 characters"),
            (
                not PORT_NAME.fullmatch(value),
                "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
            ),
            (not re.search("[a-z]", value), "must contain at least one letter (a-z)"),
            ("--" in value, "must not contain consecutive hyphens"),
            (value.startswith("-") or value.endswith("-"), "must not begin or end with a hyphen"),
        ):
            if bad:
                self.invalid(field, value, text)

    def label_key(self, field: str, key: str) -> None:
        """Check the name of a label."""
        prefix, slash, name = key.rpartition("/")
        if slash and not prefix:
            self.invalid(field, key, "prefix part must be non-empty")
        elif prefix and not SUBDOMAIN.fullmatch(prefix):
            self.invalid(field, key, f"prefix part {SUBDOMAIN_TEXT}")
        if not name:
            self.invalid(field, key, "name part must be non-empty")
        if len(name) > 63:
            self.invalid(field, key, "name part must be no more than 63 bytes")
        if not QUALIFIED.fullmatch(name):
            self.invalid(field, key, _QUALIFIED_TEXT)

    def label_value(self, field: str, value: str) -> None:
        """Check the value of a label."""
        if len(value) > 63:
            self.invalid(field, value, "must be no more than 63 bytes")
        if not LABEL_VALUE.fullmatch(value):
            self.invalid(field, value, _VALUE_TEXT)

    def labels(self, field: str, labels: Mapping[str, str]) -> None:
        """Check a map of labels."""
        for key, value in labels.items():
            self.label_key(field, key)
            self.label_value(field, value)

    def label_selector(self, field: str, selector: Obj) -> None:
        """Check a LabelSelector."""
        self.labels(f"{field}.matchLabels", selector.get("matchLabels") or {})
        for index, one in enumerate(selector.get("matchExpressions") or ()):
            at = f"{field}.matchExpressions[{index}]"
            operator, values = one.get("operator", ""), one.get("values") or []
            if operator in ("In", "NotIn"):
                if not values:
                    self.required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'")
            elif operator in ("Exists", "DoesNotExist"):
                if values:
                    self.forbidden(
                        f"{at}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                    )
            else:
                self.invalid(f"{at}.operator", operator, "not a valid selector operator")
            self.label_key(f"{at}.key", one.get("key", ""))
            for number, value in enumerate(values):
                self.label_value(f"{at}.values[{number}]", value)


def shown(value: Any) -> str:
    """Return a value as field errors show it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
