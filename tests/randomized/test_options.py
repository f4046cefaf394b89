# SPDX-License-Identifier: Apache-2.0
"""``--cni-random`` as users meet it before a cluster is asked."""

from __future__ import annotations

import itertools

import pytest

CHECK = "test_random_policies_mean_what_the_api_says"


def collect(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess(
        "--cni=calico", "--collect-only", "-q", "-m", "netpol", *arguments, timeout=60
    )


def test_without_the_option_the_check_is_not_there(pytester: pytest.Pytester) -> None:
    result = collect(pytester)
    assert result.ret == 0
    result.stdout.no_fnmatch_line(f"*{CHECK}*")


def test_shares_are_spread_over_the_run(pytester: pytest.Pytester) -> None:
    result = collect(pytester, "--cni-random=120")
    places = [i for i, line in enumerate(result.outlines) if CHECK in line]
    assert len(places) == 3 and min(b - a for a, b in itertools.pairwise(places)) > 3
    result.stdout.fnmatch_lines([f"*{CHECK}?1-of-3?", f"*{CHECK}?3-of-3?"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cni-random=many"], "*--cni-random=many: not a number*"),
        (["--cni-random=0"], "*--cni-random=0: must be at least 1*"),
        (["--cni-random=1.5"], "*--cni-random=1.5: not a whole number*"),
        (["--cni-random=5", "--cni-seed=x"], "*--cni-seed=x: not a whole number*"),
        (["--cni-random=5", "--cni-random-time=0"], "*--cni-random-time=0: must be at least 1*"),
    ],
)
def test_bad_input(pytester: pytest.Pytester, arguments: list[str], message: str) -> None:
    result = collect(pytester, *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    result.stderr.no_fnmatch_line("*Traceback*")


def test_without_hypothesis_it_says_what_to_install(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        hide="""
        import importlib.util
        real = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *more: None if name == "hypothesis" else real(name, *more)
        """
    )
    result = collect(pytester, "-p", "hide", "--cni-random=5")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*--cni-random needs Hypothesis: pip install 'pytest-cniconformance?random?'*"]
    )
    assert collect(pytester, "-p", "hide").ret == 0
