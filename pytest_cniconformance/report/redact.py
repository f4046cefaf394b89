# SPDX-License-Identifier: Apache-2.0
"""Nothing secret may enter a report: known secrets by value, unknown ones by their shape or their key.

Reports are published as CI artifacts. When in doubt this module removes too much.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import yaml

from pytest_cniconformance.report import codec
from pytest_cniconformance.report.text import scalar

if TYPE_CHECKING:
    from pathlib import Path

R = TypeVar("R")

MASK = "<redacted>"
_SECRET_WORD = (
    r"(?:pass(?:word|wd|phrase)?|secret|token|credentials?|api[-_]?key|access[-_]?key|private[-_]?key"
    r"|client[-_]?key(?:[-_]?data)?|client[-_]?certificate[-_]?data|auth(?:orization)?|cookie|bearer)"
)
_ASSIGNED = rf"{_SECRET_WORD}[\"']?\s*[:=]\s*"
_SECRET_KEY = re.compile(rf"(?:^|[-_.]|[a-z](?=[A-Z])){_SECRET_WORD}$", re.IGNORECASE)
_ENV_KEY = re.compile(rf"(?:^|_){_SECRET_WORD}(?:$|_)", re.IGNORECASE)
_SHORTEST_SECRET = 6
_REMEMBERED = 8192

# Repetitions are bounded, so that no input makes a search quadratic.
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # A private key or certificate, and the same as base64, as a kubeconfig has it.
    (re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)", re.DOTALL), MASK),
    (re.compile(r"LS0tLS1CRUdJTi[A-Za-z0-9+/=_\n\\ -]+"), MASK),
    # A JSON web token (service account, OIDC), whatever stands before it.
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]+(?:\.[\w-]*)?"), MASK),
    # Tokens whose issuer marks them.
    (re.compile(r"\b(?:gh[opsur]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abpr]-[\w-]{10,})"), MASK),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bya29\.[\w-]+|\bk8s-aws-v1\.[\w-]+"), MASK),
    # Authorization and cookie headers: the rest of the line, or of the quoted argument, is secret.
    (
        re.compile(r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|x-auth-token)(\s*[:=]\s*)[^\n'\"]+"),
        rf"\1\2{MASK}",
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}"), rf"\1 {MASK}"),
    # Credentials in URLs and for curl: user information and secret query parameters.
    (re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,20}://)[^\s/@'\"]+@"), rf"\1{MASK}@"),
    (re.compile(rf"(?i)([?&][\w-]{{0,40}}{_SECRET_WORD}[\w-]{{0,40}}=)[^&\s'\"#]+"), rf"\1{MASK}"),
    (re.compile(r"(\s(?:-u|--user|--proxy-user)[\s=]+['\"]?[^\s:'\"]+:)[^\s'\"]+"), rf"\1{MASK}"),
    # --token=…, --password …
    (re.compile(rf"(?i)(--[\w-]{{0,40}}{_SECRET_WORD}(?:=|\s+)([\"']))(?:(?!\2).)*"), rf"\1{MASK}"),
    (re.compile(rf"(?i)(--[\w-]{{0,40}}{_SECRET_WORD}(?:=|\s+))[^\s'\"]+"), rf"\1{MASK}"),
    # key: value and "key": "value", in YAML, JSON, Python and environment assignments.
    (re.compile(rf"(?i)({_ASSIGNED}([\"']))(?:\\.|\2\2|(?!\2).)*"), rf"\1{MASK}"),
    (
        re.compile(rf"(?i)({_ASSIGNED})(?:\[[^\]\n]*\]|(?![\"'\[])[^\s,;&}}\])]*[^\s,;&}}\])\"'])"),
        rf"\1{MASK}",
    ),
)
_CURRENT_CONTEXT = re.compile(r"\bcurrent-context[\"']?\s*:")
_KIND_CONFIG = re.compile(r"\bkind[\"']?\s*:\s*[\"']?Config\b")
_KIND_SECRET = re.compile(r"\bkind[\"']?\s*:\s*[\"']?Secret\b")
_SECRET_DATA = re.compile(
    r"(\b(?:data|stringData)[\"']?[ \t]*:[ \t]*)(?:\{[^}]*\}|\n(?:[ \t]+\S.*(?:\n|\Z))+)"
)
_USERS = re.compile(r"\busers[\"']?\s*:")
_INLINE_KUBECONFIG = re.compile(r"(--cni-kubeconfig(?:=|\s+))((?:[^\s]*(?:[{}\n]|:\s)).*)", re.DOTALL)
_ENV_BLOCK = re.compile(r"^([ \t]*(?:- )?)env:[ \t]*\n((?:\1[ \t]*-? .*\n?|\1- .*\n?)+)", re.MULTILINE)


class Redactor:
    """Removes secrets from text and from trees of builtins.

    ``secrets`` are exact values known to this process, removed as they are and as a URL quotes them; the
    patterns apply always. Applying a redactor twice changes nothing more.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        found = {value.strip() for value in secrets}
        found |= {quote(value, safe="") for value in found}
        # The longest first, so that a secret which contains another leaves no rest.
        self._secrets = sorted((v for v in found if len(v) >= _SHORTEST_SECRET), key=lambda v: (-len(v), v))
        # Records of hundreds of checks repeat their keys, names and manifests, and pass here more than once.
        self._text = functools.lru_cache(_REMEMBERED)(self._redacted)
        self._manifest = functools.lru_cache(_REMEMBERED)(self._stripped)

    @classmethod
    def for_process(cls, environ: Mapping[str, str], kubeconfigs: Iterable[Path] = ()) -> Redactor:
        """Know the values of secret-looking environment variables and the credentials of the kubeconfigs.

        A kubeconfig that cannot be read is passed over: then nothing of it can leak either.
        """
        secrets = [value for key, value in environ.items() if _ENV_KEY.search(key)]
        for path in kubeconfigs:
            try:
                document = yaml.safe_load(path.read_text("utf-8"))
            except (OSError, UnicodeDecodeError, yaml.YAMLError):
                continue
            secrets += _credentials(document)
        return cls(secrets)

    def text(self, text: str) -> str:
        """Return ``text`` with every secret replaced by ``<redacted>``."""
        return self._text(text)

    def _redacted(self, text: str) -> str:
        text = scalar(text)
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        if _CURRENT_CONTEXT.search(text) or (_KIND_CONFIG.search(text) and _USERS.search(text)):
            return f"{MASK}: a kubeconfig"
        if _KIND_SECRET.search(text):
            text = _SECRET_DATA.sub(rf"\1{MASK}\n", text)
        text = _INLINE_KUBECONFIG.sub(rf"\1{MASK}", text)
        text = _ENV_BLOCK.sub(_without_env_values, text)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text

    def manifest(self, text: str) -> str:
        """Return YAML without the data of Secrets and without the values of environment variables.

        Text that is no YAML, or holds nothing of the kind, is kept as it was written.
        """
        return self._manifest(text)

    def _stripped(self, text: str) -> str:
        try:
            documents = list(yaml.safe_load_all(text))
        except yaml.YAMLError:
            return self.text(text)
        masked = [_strip(document) for document in documents]
        if any(masked):
            text = yaml.safe_dump_all(documents, sort_keys=False)
        return self.text(text)

    def tree(self, value: Any, key: str = "") -> Any:
        """Return ``value`` (builtins) redacted; whatever stands under a key such as ``token`` goes."""
        if isinstance(value, str):
            if key and value and _SECRET_KEY.search(key):
                return MASK
            return self.manifest(value) if key == "manifests" else self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(name)): self.tree(item, str(name)) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.tree(item, key) for item in value]
        return value

    def record(self, record: R) -> R:
        """Return a record (of a run or a check) in which every string is redacted."""
        return codec.load(type(record), self.tree(codec.dump(record)))


PATTERNS_ONLY = Redactor()
"""Every writer applies this, so that no path to a report goes without."""


def _credentials(value: Any, key: str = "") -> list[str]:
    if isinstance(value, Mapping):
        return [found for name, item in value.items() for found in _credentials(item, str(name))]
    if isinstance(value, list):
        return [found for item in value for found in _credentials(item, key)]
    # Exec plugins carry credentials in env (name and value) and in args; the value of any env counts.
    secret = _SECRET_KEY.search(key) or key in ("value", "args")
    return [value] if secret and isinstance(value, str) else []


def _strip(value: Any) -> bool:
    """Mask Secret data and env values in place; return whether anything was masked."""
    changed = False
    if isinstance(value, dict):
        if value.get("kind") == "Secret":
            for field in ("data", "stringData"):
                if isinstance(value.get(field), dict) and value[field]:
                    value[field] = dict.fromkeys(value[field], MASK)
                    changed = True
        for name, item in value.items():
            if name == "env" and isinstance(item, list):
                for entry in item:
                    if isinstance(entry, dict) and "value" in entry and entry["value"] != MASK:
                        entry["value"] = MASK
                        changed = True
            changed |= _strip(item)
    elif isinstance(value, list):
        for item in value:
            changed |= _strip(item)
    return changed


def _without_env_values(match: re.Match[str]) -> str:
    return re.sub(r"(\bvalue:[ \t]*)\S.*", rf"\1{MASK}", match.group(0))
