# SPDX-License-Identifier: Apache-2.0
"""Pod Security admission: the ``baseline`` and ``restricted`` standards, with the texts of the real plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_cniconformance.lab.api.defaults_pod import containers_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pytest_cniconformance.lab.api.objects import Obj

PREFIX = "pod-security.kubernetes.io/"
_CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)
_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_syncookies",
    }
)
_VOLUMES = frozenset(
    [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ]
)


def violations(spec: Obj, level: str) -> list[str]:
    """Return what in a PodSpec breaks a level; empty for ``privileged`` and for a spec that conforms."""
    if level not in ("baseline", "restricted"):
        return []
    found = list(_baseline(spec))
    if level == "restricted":
        found += _restricted(spec)
    return sorted(found, key=_order)


def message(spec: Obj, level: str, version: str) -> str:
    """Return ``PodSecurity "restricted:latest": ...``, or an empty string when the spec conforms."""
    found = violations(spec, level)
    return f'PodSecurity "{level}:{version}": {", ".join(found)}' if found else ""


_ORDER = (
    "host namespaces",
    "privileged",
    "allowPrivilegeEscalation",
    "non-default capabilities",
    "unrestricted capabilities",
    "hostPath volumes",
    "restricted volume types",
    "hostPort",
    "runAsNonRoot",
    "runAsUser=0",
    "seccompProfile",
    "forbidden sysctls",
)


def _order(text: str) -> int:
    return next((index for index, start in enumerate(_ORDER) if text.startswith(start)), len(_ORDER))


def _baseline(spec: Obj) -> Iterator[str]:
    if host := [name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]:
        yield f"host namespaces ({', '.join(f'{name}=true' for name in host)})"
    if names := _where(spec, lambda one: bool(one.get("privileged"))):
        yield f"privileged ({names} must not set securityContext.privileged=true)"
    added: dict[str, list[str]] = {}
    for container in containers_of(spec):
        for capability in _capabilities(container, "add"):
            if capability not in _CAPABILITIES:
                added.setdefault(container["name"], []).append(capability)
    if added:
        listed = ", ".join(f'"{one}"' for one in sorted({one for many in added.values() for one in many}))
        yield (
            f"non-default capabilities ({_names(added)} must not include {listed} in "
            "securityContext.capabilities.add)"
        )
    paths = [volume["name"] for volume in spec.get("volumes") or () if "hostPath" in volume]
    if paths:
        yield f"hostPath volumes ({_plural('volume', paths)})"
    ports: dict[str, list[int]] = {}
    for container in containers_of(spec):
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                ports.setdefault(container["name"], []).append(port["hostPort"])
    if ports:
        numbers = sorted({number for many in ports.values() for number in many})
        word, verb = ("hostPorts" if len(numbers) > 1 else "hostPort"), "use" if len(ports) > 1 else "uses"
        yield f"hostPort ({_names(ports)} {verb} {word} {', '.join(map(str, numbers))})"
    if _seccomp(spec.get("securityContext")) == "Unconfined":
        yield 'seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")'
    names_of_sysctls = [one["name"] for one in (spec.get("securityContext") or {}).get("sysctls") or ()]
    if unsafe := [name for name in names_of_sysctls if name not in _SYSCTLS]:
        yield f"forbidden sysctls ({', '.join(unsafe)})"


def _restricted(spec: Obj) -> Iterator[str]:
    if names := _where(spec, lambda one: one.get("allowPrivilegeEscalation") is not False):
        yield (
            f"allowPrivilegeEscalation != false ({names} must set "
            "securityContext.allowPrivilegeEscalation=false)"
        )
    keep = [one["name"] for one in containers_of(spec) if "ALL" not in _capabilities(one, "drop")]
    extra = [
        one["name"] for one in containers_of(spec) if set(_capabilities(one, "add")) - {"NET_BIND_SERVICE"}
    ]
    problems = [f'{_names(keep)} must set securityContext.capabilities.drop=["ALL"]'] if keep else []
    if extra:
        listed = sorted(
            {c for one in containers_of(spec) for c in _capabilities(one, "add")} - {"NET_BIND_SERVICE"}
        )
        quoted = ", ".join(f'"{one}"' for one in listed)
        problems.append(f"{_names(extra)} must not include {quoted} in securityContext.capabilities.add")
    if problems:
        yield f"unrestricted capabilities ({'; '.join(problems)})"
    odd = {
        volume["name"]: kind
        for volume in spec.get("volumes") or ()
        for kind in volume
        if kind != "name" and kind not in _VOLUMES
    }
    if odd:
        kinds = ", ".join(f'"{kind}"' for kind in sorted(set(odd.values())))
        word = "types" if len(set(odd.values())) > 1 else "type"
        verb = "use" if len(odd) > 1 else "uses"
        yield f"restricted volume types ({_plural('volume', odd)} {verb} restricted volume {word} {kinds})"
    pod = spec.get("securityContext") or {}
    if names := _where(spec, lambda one: one.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True):
        yield f"runAsNonRoot != true (pod or {names} must set securityContext.runAsNonRoot=true)"
    if pod.get("runAsUser") == 0:
        yield "runAsUser=0 (pod must not set runAsUser=0)"
    elif names := _where(spec, lambda one: one.get("runAsUser") == 0):
        yield f"runAsUser=0 ({names} must not set runAsUser=0)"
    fits = ("RuntimeDefault", "Localhost")
    if names := _where(spec, lambda one: (_seccomp(one) or _seccomp(pod)) not in fits):
        yield (
            f"seccompProfile (pod or {names} must set securityContext.seccompProfile.type to "
            '"RuntimeDefault" or "Localhost")'
        )


def _where(spec: Obj, bad: Callable[[Obj], bool]) -> str:
    names = [one["name"] for one in containers_of(spec) if bad(one.get("securityContext") or {})]
    return _names(names) if names else ""


def _capabilities(container: Obj, which: str) -> list[str]:
    context = container.get("securityContext") or {}
    return list((context.get("capabilities") or {}).get(which) or ())


def _seccomp(context: Obj | None) -> str:
    return str(((context or {}).get("seccompProfile") or {}).get("type", ""))


def _names(names: Iterable[str]) -> str:
    return _plural("container", names)


def _plural(word: str, names: Iterable[str]) -> str:
    listed = [f'"{name}"' for name in names]
    return f"{word}{'s' if len(listed) > 1 else ''} {', '.join(listed)}"
