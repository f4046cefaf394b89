# SPDX-License-Identifier: Apache-2.0
"""What exec and log requests have in common: the container that is meant, and how a command's end is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api import errors
from pytest_cniconformance.lab.api.defaults_pod import containers_of
from pytest_cniconformance.lab.api.objects import Obj, name_of
from pytest_cniconformance.lab.api.paths import flag

if TYPE_CHECKING:
    from multidict import MultiMapping


DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """A command to run in a container, and the streams that the client attaches."""

    pod: Obj
    container: str
    argv: tuple[str, ...]
    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool


def exec_request(pod: Obj, query: MultiMapping[str]) -> ExecRequest:
    """Return what an exec request asks; raises 400."""
    argv = tuple(query.getall("command", []))
    if not argv:
        raise errors.bad_request("you must specify at least 1 command")
    tty = flag(query, "tty")
    streams = [flag(query, name) for name in ("stdin", "stdout", "stderr")]
    if not any(streams):
        raise errors.bad_request("you must specify at least one of stdin, stdout, stderr")
    if not pod["spec"].get("nodeName"):
        raise errors.bad_request(f"pod {name_of(pod)} does not have a host assigned")
    if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        phase = pod["status"]["phase"]
        text = f"cannot exec into a container in a completed pod; current phase is {phase}"
        raise errors.ApiError(400, "BadRequest", text)
    container = choose_container(pod, query.get("container", ""))
    return ExecRequest(pod, container, argv, streams[0], streams[1], streams[2] and not tty, tty)


def choose_container(pod: Obj, wanted: str) -> str:
    """Return the container that a request means; raises 400 when it is unknown or not clear."""
    name = name_of(pod)
    containers = [one["name"] for one in pod["spec"]["containers"]]
    if wanted:
        if all(one["name"] != wanted for one in containers_of(pod["spec"])):
            raise errors.bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    marked = (pod["metadata"].get("annotations") or {}).get(DEFAULT_CONTAINER)
    if marked in containers:
        return str(marked)
    if len(containers) > 1:
        listed = " ".join(containers)
        raise errors.bad_request(
            f"a container name must be specified for pod {name}, choose one of: [{listed}]"
        )
    return str(containers[0])


def exit_status(code: int) -> Obj:
    """Return the Status that tells how a command ended."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def failure_status(text: str) -> Obj:
    """Return the Status that tells why a command could not run."""
    return {
        "metadata": {},
        "status": "Failure",
        "message": text,
        "reason": "InternalError",
        "details": {"causes": [{"message": text}]},
        "code": 500,
    }
