# SPDX-License-Identifier: Apache-2.0
"""Kernel commands, batched: everything that one namespace needs goes into one short shell script."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_cniconformance.lab.dataplane.seams import DataplaneError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_cniconformance.lab.dataplane.seams import Zygote

_LINK_ATTEMPTS = 60  # about 3.5 s in all
_PATH = "PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; export PATH\n"


@dataclass(slots=True)
class Batch:
    """Commands for one network namespace, in the order of the script.

    First early sysctls, then ip, bridge, tc, sysctls, other shell commands, nft.
    ``ip``, ``bridge`` and ``tc`` lines are written as for ``ip -batch``; sysctls are paths below
    /proc/sys/net. A sysctl whose path starts with ``-`` may be missing in the kernel.
    """

    early: list[tuple[str, str]] = field(default_factory=list)
    ip: list[str] = field(default_factory=list)
    bridge: list[str] = field(default_factory=list)
    tc: list[str] = field(default_factory=list)
    sysctl: list[tuple[str, str]] = field(default_factory=list)
    shell: list[str] = field(default_factory=list)
    nft: str = ""
    forgiving: bool = False

    @property
    def only_ip(self) -> bool:
        """Whether one ``ip -batch`` does it all."""
        rest = self.early or self.bridge or self.tc or self.sysctl or self.shell or self.nft or self.forgiving
        return bool(self.ip) and not rest

    def script(self) -> str:
        """Write the batch as a POSIX shell script; empty if there is nothing to do."""
        parts = [self._sysctls(self.early)]
        for tool, lines in (("ip", self.ip), ("bridge", self.bridge), ("tc", self.tc)):
            if lines:
                force = "-force " if self.forgiving else ""
                quiet = " 2>/dev/null || true" if self.forgiving else ""
                body = "\n".join(lines)
                parts.append(f"{tool} {force}-batch - <<'EOF'{quiet}\n{body}\nEOF\n")
        parts.append(self._sysctls(self.sysctl))
        parts += [f"{line}\n" for line in self.shell]
        if self.nft:
            parts.append(f"nft -f - <<'EOF'\n{self.nft}EOF\n")
        text = "".join(parts)
        return f"set -eu\n{_PATH}{text}" if text else ""

    @staticmethod
    def _sysctls(settings: list[tuple[str, str]]) -> str:
        lines = []
        for path, value in settings:
            target = f"/proc/sys/net/{path.lstrip('-')}"
            guard = f"[ ! -e {target} ] || " if path.startswith("-") else ""
            lines.append(f"{guard}echo {value} > {target}\n")
        return "".join(lines)


class Commands:
    """Runs batches through the zygote and turns failures into DataplaneError."""

    def __init__(self, zygote: Zygote) -> None:
        self._zygote = zygote

    async def run(self, netns: str | None, batch: Batch, *, what: str) -> None:
        """Apply a batch in a namespace (None: the daemon's). ``what`` names the purpose in the error."""
        if batch.only_ip:
            await self._ip(netns, batch.ip, what=what)
            return
        script = batch.script()
        if script:
            await self.shell(netns, script, what=what)

    async def _ip(self, netns: str | None, lines: list[str], *, what: str) -> None:
        """Spare the shell when there is nothing for it to do; it costs as much as ip itself."""
        code, _, err = await self._zygote.run(["ip", "-batch", "-"], "\n".join(lines).encode(), netns=netns)
        if code:
            where = netns or "the lab's own namespace"
            raise DataplaneError(f"{what} in {where}: {err.decode(errors='replace').strip()}")

    async def links_up(self, netns: str | None, names: Sequence[str]) -> None:
        """Wait until links whose other end has just come up are able to send.

        The kernel notices the carrier in a work queue; until then it drops what the link should send, and a lost
        ARP answer costs a second. Asking for one link by name makes current kernels (6.13) catch up before they
        answer; older ones have to be asked again.
        """
        if not names:
            return
        question = "\n".join(f"link show dev {name}" for name in names).encode()
        for attempt in range(_LINK_ATTEMPTS):
            code, out, err = await self._zygote.run(["ip", "-batch", "-"], question, netns=netns)
            if code:
                raise DataplaneError(f"waiting for links: {err.decode(errors='replace').strip()}")
            if out.count(b"state UP") == len(names):
                return
            await asyncio.sleep(0.002 * attempt)
        raise DataplaneError(f"links do not come up: {', '.join(names)}")

    async def shell(self, netns: str | None, script: str, *, what: str) -> str:
        """Run a shell script in a namespace and return what it printed."""
        code, out, err = await self._zygote.run(["sh"], script.encode(), netns=netns)
        if code:
            where = netns or "the lab's own namespace"
            complaint = err.decode(errors="replace").strip() or f"exit code {code}"
            raise DataplaneError(f"{what} in {where}: {complaint}")
        return out.decode(errors="replace")

    async def nft(self, netns: str, script: str, *, what: str) -> None:
        """Apply one nftables transaction: all of it or nothing."""
        code, _, err = await self._zygote.run(["nft", "-f", "-"], script.encode(), netns=netns)
        if code:
            raise DataplaneError(f"{what} in {netns}: {_nft_complaint(script, err.decode(errors='replace'))}")


def _nft_complaint(script: str, err: str) -> str:
    """Add the offending line, which nft names by number only when it reads from stdin."""
    lines = script.splitlines()
    first = err.strip().splitlines()[0] if err.strip() else "nft failed without a message"
    parts = first.split(":")
    if len(parts) > 1 and parts[1].isdigit() and 0 < int(parts[1]) <= len(lines):
        return f"{first}: {lines[int(parts[1]) - 1]}"
    return err.strip() or first
