# SPDX-License-Identifier: Apache-2.0
"""A device that gives every packet back after a fixed time, for kernels without netem.

stdin: ``{"device": "slow0", "milliseconds": 20, "mtu": 1450}``. Returns once the device is up; the relay stays
behind as a child of its own.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_MAX_WAITING = 20000


def open_tun(name: str) -> int:
    """Create the device; it lives as long as the descriptor."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return fd


def relay(fd: int, seconds: float) -> None:
    """Hold each packet for ``seconds``, in order."""
    waiting: deque[tuple[float, bytes]] = deque()
    while True:
        timeout = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        readable, _, _ = select.select([fd], [], [], timeout)
        now = time.monotonic()
        if readable:
            try:
                while len(waiting) < _MAX_WAITING:
                    waiting.append((now + seconds, os.read(fd, 65536)))
            except BlockingIOError:
                pass
        while waiting and waiting[0][0] <= now:
            try:
                os.write(fd, waiting.popleft()[1])
            except OSError:
                continue


def main() -> None:
    """Set up, then leave the relay running."""
    wanted = json.load(sys.stdin)
    fd = open_tun(wanted["device"])
    setup = ["ip", "link", "set", wanted["device"], "mtu", str(wanted["mtu"]), "up"]
    subprocess.run(setup, check=True)
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    relay(fd, wanted["milliseconds"] / 1000)


if __name__ == "__main__":
    main()
