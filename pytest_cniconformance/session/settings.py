# SPDX-License-Identifier: Apache-2.0
"""The settings of a run, resolved once: command line, then environment, then ini file, then default."""

from __future__ import annotations

import importlib.util
import math
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_cniconformance.kube.loadbalancers import address_range
from pytest_cniconformance.measure.slo import load_profile
from pytest_cniconformance.model.failure import UsageError
from pytest_cniconformance.model.timeouts import Timeouts
from pytest_cniconformance.options import OPTIONS
from pytest_cniconformance.probe.vantage import describe_vantage

DEFAULT_IMAGE = "docker.io/library/python:3.13-alpine"
CAPABILITIES = ("connectivity", "networkpolicy", "dns", "services", "loadbalancer", "l7", "latency")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user asked for; every field is validated here, in one place."""

    cni: str
    cluster: str
    kubeconfig: str | None
    context: str | None
    image: str
    report: Path
    require: frozenset[str]
    keep: str
    slo: str
    timeouts: Timeouts
    external: str
    external_names: tuple[str, ...]
    lb_addresses: tuple[str, ...]
    lab_faults: tuple[str, ...]
    lab_nodes: int
    lab_families: tuple[str, ...]
    random: int = 0
    """How many random sets of policies to compare."""
    seed: int = 0
    random_time: float = 900.0
    random_shrink_time: float = 300.0


SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
"""Where ``config.stash`` keeps the settings of an active run, in every process."""


def _raw(config: pytest.Config) -> dict[str, Any]:
    """Return each option's value by its name, None where nobody set it."""
    values: dict[str, Any] = {}
    for option in OPTIONS:
        value = config.getoption(option.dest)
        if value is None:
            value = os.environ.get(option.env) or config.getini(option.dest) or None
            if option.many and isinstance(value, str):
                value = _words(value)
            if value is not None and option.choices and value not in option.choices:
                raise UsageError(
                    f"{option.env}/{option.dest}: {value!r} is not one of {', '.join(option.choices)}"
                )
        values[option.name] = value
    return values


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.replace(",", " ").split()]


def _ranges(text: str) -> list[str]:
    for word in (words := _words(text)):
        try:
            address_range(word)
        except ValueError as error:
            raise UsageError(f"--cni-lb-addresses={text}: {error}") from None
    return words


def _number(text: str | None, default: float, flag: str, *, minimum: float, whole: bool = False) -> float:
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        raise UsageError(f"{flag}={text}: not a number") from None
    if not math.isfinite(number) or (whole and not number.is_integer()):
        raise UsageError(f"{flag}={text}: not a {'whole' if whole else 'finite'} number")
    if number < minimum:
        raise UsageError(f"{flag}={text}: must be at least {minimum:g}")
    return number


def resolve(config: pytest.Config) -> Settings:
    """Return the settings of this run.

    Raises:
        UsageError: a value is not usable; the message names the option.
    """
    raw = _raw(config)
    require = frozenset(_words(raw["require"] or ""))
    if unknown := require - set(CAPABILITIES):
        raise UsageError(
            f"--cni-require={','.join(sorted(unknown))}: known capabilities are {', '.join(CAPABILITIES)}"
        )
    families = tuple(_words(raw["lab-families"] or "ipv4"))
    if not families or set(families) - {"ipv4", "ipv6"}:
        raise UsageError(f"--cni-lab-families={raw['lab-families']}: use ipv4, ipv6 or ipv4,ipv6")
    cluster = raw["cluster"] or "current"
    if cluster != "lab" and raw["lab-fault"]:
        raise UsageError(
            "--cni-lab-fault needs --cni-cluster=lab: faults are injected into the embedded lab only"
        )
    for name in ("kubeconfig", "context"):  # from the environment or an ini file they are for other runs
        if cluster != "current" and config.getoption(f"cni_{name}") is not None:
            raise UsageError(
                f"--cni-{name} chooses a cluster that runs already, and --cni-cluster={cluster} makes one: drop either"
            )
    kubeconfig = raw["kubeconfig"]
    if cluster == "current" and kubeconfig and not Path(kubeconfig).is_file():
        raise UsageError(f"--cni-kubeconfig={kubeconfig}: no such file")
    external = raw["external"] or "auto"
    describe_vantage(external, provided=False)
    slo = raw["slo"] or "default"
    load_profile(slo)  # a mistake in the file is said now, not by the checks that measure, late or never
    return Settings(
        cni=raw["name"].lower(),
        cluster=cluster,
        kubeconfig=kubeconfig,
        context=raw["context"],
        image=raw["image"] or DEFAULT_IMAGE,
        report=Path(raw["report"] or "cni-report"),
        require=require,
        keep=raw["keep"] or "never",
        slo=slo,
        timeouts=Timeouts().scaled(_number(raw["timeout-scale"], 1.0, "--cni-timeout-scale", minimum=0.1)),
        external=external,
        external_names=tuple(_words(raw["external-names"] or "")),
        lb_addresses=tuple(_ranges(raw["lb-addresses"] or "")),
        lab_faults=tuple(raw["lab-fault"] or ()),
        lab_nodes=int(_number(raw["lab-nodes"], 3, "--cni-lab-nodes", minimum=1, whole=True)),
        lab_families=families,
        random=_random(raw["random"]),
        seed=_seed(raw),
        random_time=_number(raw["random-time"], 900, "--cni-random-time", minimum=1),
        random_shrink_time=_number(raw["random-shrink-time"], 300, "--cni-random-shrink-time", minimum=1),
    )


def _random(text: str | None) -> int:
    count = int(_number(text, 0, "--cni-random", minimum=1, whole=True))
    if count and importlib.util.find_spec("hypothesis") is None:
        raise UsageError(
            "--cni-random needs Hypothesis: pip install 'pytest-cniconformance[random]' (or 'hypothesis>=6.100')"
        )
    return count


def _seed(raw: dict[str, Any]) -> int:
    if raw["seed"] is None:
        return secrets.randbelow(2**32)
    try:
        return int(raw["seed"])
    except ValueError:
        raise UsageError(f"--cni-seed={raw['seed']}: not a whole number") from None


def drawing(settings: Settings) -> str:
    """Say what is drawn at random, and how to draw the same again."""
    from importlib.metadata import version

    return (
        f"random policies: {settings.random} cases, seed {settings.seed}, Hypothesis {version('hypothesis')} · "
        f"the same again: {' '.join(again(settings))}"
    )


def again(settings: Settings) -> list[str]:
    """Return the options that draw the same random policies."""
    return [f"--cni-random={settings.random}", f"--cni-seed={settings.seed}"] if settings.random else []
