# SPDX-License-Identifier: Apache-2.0
"""Reading profiles: strict, because a misspelt key would silently excuse or hide something."""

from __future__ import annotations

import datetime
import difflib
import functools
import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any

from pytest_cniconformance.cni.profile import CAPABILITIES, Claim, CniProfile, Detection, Deviation, Statement
from pytest_cniconformance.cni.versions import terms
from pytest_cniconformance.model.failure import UsageError

_PROFILES = files("pytest_cniconformance.cni") / "profiles"
_ESTABLISHED = ("kept", "dropped", "unknown")


@functools.cache
def known_profiles() -> tuple[str, ...]:
    """Return the names of the bundled profiles, sorted."""
    names = (entry.name for entry in _PROFILES.iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


@functools.cache
def load_profile(name: str) -> CniProfile:
    """Return a bundled profile.

    Raises:
        UsageError: there is none of this name; the message lists those that exist.
    """
    if name not in known_profiles():
        close = difflib.get_close_matches(name.lower(), known_profiles(), n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise UsageError(
            f"unknown CNI {name!r}.{hint} Known: {', '.join(known_profiles())} (generic for any other CNI)"
        )
    return parse_profile((_PROFILES / f"{name}.toml").read_text("utf-8"), where=f"profiles/{name}.toml")


def parse_profile(text: str, *, where: str) -> CniProfile:
    """Return the profile that a TOML text describes; ``where`` names the text in messages.

    Raises:
        UsageError: it is no TOML, or a key is unknown, missing or of the wrong type.
    """
    try:
        table = _Table(tomllib.loads(text), where)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where}: {error}") from None
    detect, claims, traits = table.table("detect"), table.table("claims"), table.table("traits")
    profile = CniProfile(
        name=table.text("name"),
        title=table.text("title"),
        url=table.text("url"),
        statements={
            capability: _statement(claims.table(capability, needed=True)) for capability in CAPABILITIES
        },
        l7_dialect=table.text("l7-dialect", ""),
        traits={name: traits.text(name) for name in tuple(traits.entries)},
        address_annotation=table.text("address-annotation", ""),
        deviations=tuple(map(_deviation, table.tables("deviations"))),
        detection=Detection(
            **{
                key: detect.texts(key)
                for key in ("daemonsets", "crds", "annotations", "config", "images", "over")
            }
        ),
        remarks=table.texts("notes"),
    )
    for part in (table, detect, claims, traits):
        part.finish()
    if profile.established_connections not in _ESTABLISHED:
        raise traits.wrong("established-connections", f"must be one of {', '.join(_ESTABLISHED)}")
    if profile.l7_dialect and profile.l7_api is None:
        raise table.wrong(
            "l7-dialect", "must be an API version and a kind, such as 'cilium.io/v2 CiliumNetworkPolicy'"
        )
    return profile


def _statement(table: _Table) -> Statement:
    claim = table.text("claim")
    if claim not in tuple(Claim):
        raise table.wrong("claim", f"must be one of {', '.join(Claim)}, not {claim!r}")
    statement = Statement(Claim(claim), table.text("reason", ""), table.text("reference", ""))
    if statement.claim is not Claim.CLAIMED and not (statement.reason and statement.reference):
        raise table.wrong("reason", f"and reference are required for {claim}")
    table.finish()
    return statement


def _deviation(table: _Table) -> Deviation:
    expires = table.take("expires", datetime.date)
    deviation = Deviation(
        table.text("requirement"),
        table.text("reference"),
        table.text("reason"),
        expires,
        table.text("versions", ""),
    )
    if not deviation.reference.startswith("https://"):
        raise table.wrong("reference", "must be a URL that others can read")
    try:
        terms(deviation.versions)
    except ValueError as error:
        raise table.wrong("versions", str(error)) from None
    table.finish()
    return deviation


class _Table:
    """A TOML table that knows its place, and which of its keys nobody asked for."""

    def __init__(self, entries: Mapping[str, Any], where: str) -> None:
        self.entries = dict(entries)
        self._where = where

    def wrong(self, key: str, message: str) -> UsageError:
        """Return the error of one key."""
        return UsageError(f"{self._where}: {key} {message}")

    def take(self, key: str, kind: type[Any], default: Any = None) -> Any:
        """Return and strike off a value; without a default it must be there."""
        if key not in self.entries:
            if default is None:
                raise self.wrong(key, "is missing")
            return default
        value = self.entries.pop(key)
        if not isinstance(value, kind) or isinstance(value, datetime.datetime):
            raise self.wrong(key, f"must be {_WORDS[kind]}, not {value!r}")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """Return a string; it must not be empty unless that is the default."""
        value: str = self.take(key, str, default)
        if not value and default is None:
            raise self.wrong(key, "is empty")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings, empty if it is absent."""
        values: list[Any] = self.take(key, list, [])
        if not all(isinstance(value, str) for value in values):
            raise self.wrong(key, f"must be a list of strings, not {values!r}")
        return tuple(values)

    def table(self, key: str, *, needed: bool = False) -> _Table:
        """Return a table, empty if it is absent and not needed."""
        value = self.take(key, dict, None if needed else {})
        return _Table(value, f"{self._where} [{key}]")

    def tables(self, key: str) -> Iterable[_Table]:
        """Return a list of tables."""
        values: list[Any] = self.take(key, list, [])
        for number, value in enumerate(values):
            if not isinstance(value, dict):
                raise self.wrong(key, f"must be a list of tables, not {value!r}")
            yield _Table(value, f"{self._where} [[{key}]] {number}")

    def finish(self) -> None:
        """Refuse what was not asked for."""
        for key in self.entries:
            raise self.wrong(key, "is no key of a CNI profile")


_WORDS: dict[type[Any], str] = {
    str: "a string",
    list: "a list",
    dict: "a table",
    datetime.date: "a date such as 2027-06-30",
}
