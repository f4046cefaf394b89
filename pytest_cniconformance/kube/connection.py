# SPDX-License-Identifier: Apache-2.0
"""From a kubeconfig context to what a socket needs: address, TLS, proxy, and a fresh authorization header.

The ``kubernetes`` package does the credentials (tokens, client certificates, exec plugins, OIDC). TLS and proxy
are set up here, once, for plain requests and for websockets alike, so that both behave the same under every
supported release of that package.
"""

from __future__ import annotations

import os
import ssl
import threading
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit, urlunsplit
from urllib.request import getproxies

from ..model.failure import UsageError
from . import kubeconfig as files

if TYPE_CHECKING:
    from kubernetes.client import Configuration


@dataclass(frozen=True, slots=True)
class Server:
    """The API server's address, taken apart. ``prefix`` is the path before ``/api`` (Rancher and others)."""

    scheme: str
    host: str
    port: int
    prefix: str

    @classmethod
    def parse(cls, url: str) -> Server:
        """Parse ``https://host:port/prefix``; raises :class:`UsageError` for anything else."""
        parts = urlsplit(url)
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            port = 0
        if parts.scheme not in ("http", "https") or not parts.hostname or not port:
            raise UsageError("the cluster's server address in the kubeconfig is not an http(s) URL")
        return cls(parts.scheme, parts.hostname, port, parts.path.rstrip("/"))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return urlunsplit((self.scheme, f"{host}:{self.port}", self.prefix, "", ""))


def bypass_proxy(host: str, no_proxy: str) -> bool:
    """Whether ``host`` is reached directly by Go's rules for ``NO_PROXY``, which kubectl follows."""
    if host == "localhost" or "*" in [entry.strip() for entry in no_proxy.split(",")]:
        return True
    try:
        address = ip_address(host)
    except ValueError:
        address = None
    if address is not None and address.is_loopback:
        return True
    for entry in (part.strip().lower() for part in no_proxy.split(",")):
        if not entry:
            continue
        if address is not None:
            try:
                if address in ip_network(entry, strict=False):
                    return True
            except ValueError:
                pass
        plain = entry.lstrip("*").lstrip(".")
        if plain and (host.lower() == plain or host.lower().endswith("." + plain)):
            return True
    return False


class Connection:
    """Where and as whom to talk: the loaded context of one kubeconfig. Thread-safe."""

    def __init__(self, selected: files.Selected) -> None:
        self.selected = selected
        self._lock = threading.Lock()
        self._configuration = self._load()
        self.server = Server.parse(self._configuration.host)
        self.context = selected.context
        self.proxy = self._proxy()
        self.tls_server_name: str | None = self._configuration.tls_server_name or None
        self.verified = bool(self._configuration.verify_ssl)
        self.tls: ssl.SSLContext | None = self._tls() if self.server.scheme == "https" else None

    @classmethod
    def load(cls, kubeconfig: str | None = None, context: str | None = None) -> Connection:
        """Load the context in force; raises :class:`UsageError` with a remedy. Opens no connection."""
        return cls(files.select(kubeconfig, context))

    def authorization(self) -> str | None:
        """Return the value of the ``Authorization`` header, refreshed when it is about to expire."""
        with self._lock:
            settings = cast("dict[str, Any]", self._configuration.auth_settings())
        token = settings.get("BearerToken")
        value = token["value"] if token else None
        return value.strip() if value else None  # token files end in a newline

    def reload(self) -> None:
        """Read the credentials again, because the server refused the present ones (rotated token, new login)."""
        fresh = self._load()
        with self._lock:
            self._configuration = fresh

    def _load(self) -> Configuration:
        # Here, not at the top: importing the package costs 0.25 to 0.4 s.
        from kubernetes import config
        from kubernetes.client import Configuration

        loader: Any = config  # partly typed, in the newest releases only

        configuration = Configuration()
        where = "in-cluster" if self.selected.in_cluster else f'context "{self.selected.context}"'
        try:
            if self.selected.in_cluster:
                loader.load_incluster_config(client_configuration=configuration)
            else:
                loader.load_kube_config(
                    config_file=os.pathsep.join(str(path) for path in self.selected.paths),
                    context=self.selected.context,
                    client_configuration=configuration,
                )
        except Exception as error:
            if missing := self.selected.missing_files():
                raise UsageError(
                    f"cannot load the credentials of {where}: {' and '.join(missing)} in its kubeconfig "
                    "names a file that does not exist or cannot be read"
                ) from None
            # The loader's errors may quote a whole user entry: only their type is fit to show.
            raise UsageError(
                f"cannot load the credentials of {where}: {type(error).__name__} while reading its cluster and "
                "user entries; check them with `kubectl config view` and `kubectl version`"
            ) from None
        user = self.selected.user
        if "exec" in user and not configuration.api_key and not configuration.cert_file:
            command = os.path.basename(str((user["exec"] or {}).get("command", "?")))  # noqa: PTH119
            raise UsageError(
                f'the credential plugin "{command}" of {where} gave no credentials; '
                "run `kubectl version` to see what it says (an expired login?)"
            )
        return configuration

    def _proxy(self) -> str | None:
        explicit = self.selected.cluster.get("proxy-url")
        if explicit:
            return str(explicit)
        proxies = getproxies()
        found = proxies.get(self.server.scheme) or proxies.get("all")
        if not found or bypass_proxy(self.server.host, proxies.get("no") or ""):
            return None
        return found if "://" in found else f"http://{found}"

    @staticmethod
    def _add_public_roots(context: ssl.SSLContext) -> None:
        """Trust certifi's roots beside the system's: slim containers have none."""
        try:
            import certifi
        except ImportError:
            return
        context.load_verify_locations(cafile=certifi.where())

    def _tls(self) -> ssl.SSLContext:
        configuration = self._configuration
        try:
            context = ssl.create_default_context(
                cafile=configuration.ssl_ca_cert or None,
                cadata=getattr(configuration, "ca_cert_data", None),
            )
            if not configuration.ssl_ca_cert:
                self._add_public_roots(context)
            # Python 3.13 refuses CAs without a key identifier, which many clusters have and kubectl accepts.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            if configuration.cert_file:
                context.load_cert_chain(configuration.cert_file, configuration.key_file or None)
        except (OSError, ValueError) as error:
            raise UsageError(
                f'the certificates of context "{self.context}" cannot be used: '
                f"{getattr(error, 'strerror', None) or type(error).__name__}; check certificate-authority, "
                "client-certificate and client-key in the kubeconfig"
            ) from None
        if not self.verified or configuration.assert_hostname is False:
            context.check_hostname = False
        if not self.verified:
            context.verify_mode = ssl.CERT_NONE
        return context
