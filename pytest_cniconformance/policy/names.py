# SPDX-License-Identifier: Apache-2.0
"""Names that the API accepts, and its messages for those that it does not (apimachinery util/validation)."""

from __future__ import annotations

import re
from collections.abc import Iterator

PORT_NUMBER = "must be between 1 and 65535, inclusive"

_PART = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_QUALIFIED = re.compile(_PART, re.ASCII)
_VALUE = re.compile(f"({_PART})?", re.ASCII)
_DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_DNS_LABEL}(\.{_DNS_LABEL})*", re.ASCII)

_QUALIFIED_MESSAGE = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    f"'{_PART}')"
)
_VALUE_MESSAGE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for "
    f"validation is '({_PART})?')"
)
_LABEL_MESSAGE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    f"with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_DNS_LABEL}')"
)
_SUBDOMAIN_MESSAGE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    f"'{_DNS_LABEL}(\\.{_DNS_LABEL})*')"
)


def qualified(key: str) -> Iterator[str]:
    """Yield what is wrong with a label key: a name of up to 63 characters, with an optional DNS prefix."""
    parts = key.split("/")
    if len(parts) > 2:
        prefix = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        yield f"a qualified name {_QUALIFIED_MESSAGE} {prefix}"
        return
    if len(parts) == 2:
        if not parts[0]:
            yield "prefix part must be non-empty"
        else:
            yield from (f"prefix part {message}" for message in subdomain(parts[0]))
    name = parts[-1]
    if not name:
        yield "name part must be non-empty"
    elif len(name) > 63:
        yield "name part must be no more than 63 bytes"
    if not _QUALIFIED.fullmatch(name):
        yield f"name part {_QUALIFIED_MESSAGE}"


def label_value(value: str) -> Iterator[str]:
    """Yield what is wrong with a label value; the empty one is fine."""
    if len(value) > 63:
        yield "must be no more than 63 bytes"
    if not _VALUE.fullmatch(value):
        yield _VALUE_MESSAGE


def subdomain(name: str) -> Iterator[str]:
    """Yield what is wrong with a DNS-1123 subdomain, the form of most object names."""
    if len(name) > 253:
        yield "must be no more than 253 bytes"
    if not _SUBDOMAIN.fullmatch(name):
        yield _SUBDOMAIN_MESSAGE


def dns_label(name: str) -> Iterator[str]:
    """Yield what is wrong with a DNS-1123 label, the form of the names of namespaces."""
    if len(name) > 63:
        yield "must be no more than 63 bytes"
    if not re.fullmatch(_DNS_LABEL, name, re.ASCII):
        yield _LABEL_MESSAGE


def port_name(name: str) -> Iterator[str]:
    """Yield what is wrong with the name of a port."""
    if len(name) > 15:
        yield "must be no more than 15 characters"
    if not re.fullmatch(r"[-a-z0-9]+", name):
        yield "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"
    if not re.search(r"[a-z]", name):
        yield "must contain at least one letter (a-z)"
    if "--" in name:
        yield "must not contain consecutive hyphens"
    if name and (name[0] == "-" or name[-1] == "-"):
        yield "must not begin or end with a hyphen"
