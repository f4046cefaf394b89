# SPDX-License-Identifier: Apache-2.0
"""What a container runs, given that its image is ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_cniconformance.lab.node.context import ConfigError
from pytest_cniconformance.lab.node.environment import expand

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_cniconformance.lab.api.objects import Obj

# What the pause image does: wait, and leave at once when asked to.
_PAUSE = ["/bin/sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done"]


def command_line(container: Obj, env: Mapping[str, str]) -> list[str]:
    """Return the argv of a container. Raises ConfigError when only its image would know."""
    argv = [*(container.get("command") or []), *(container.get("args") or [])]
    if argv:
        return [expand(part, env) for part in argv]
    image = container.get("image", "").split("@")[0]
    if image.rsplit("/", 1)[-1].split(":")[0] == "pause":
        return list(_PAUSE)
    raise ConfigError(
        f"no command: the lab runs no images, so {image or 'the image'} cannot tell what to run; "
        f"set command or args of container {container['name']}"
    )
