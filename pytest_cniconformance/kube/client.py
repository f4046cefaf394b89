# SPDX-License-Identifier: Apache-2.0
"""The connection to a cluster that everything above uses: raw JSON in, raw JSON out."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

from ..model.failure import UsageError
from ..model.timeouts import Timeouts
from .discovery import Discovery
from .errors import (
    CHOOSE_ANOTHER,
    AlreadyExists,
    Call,
    Conflict,
    KubeError,
    NotFound,
    Unauthorized,
    Unreachable,
)
from .exec import ExecResult, ExecStream
from .listing import Scope, list_all
from .objects import Obj, Resource, Selector, describe, meta
from .ownership import LABEL_RUN
from .pods import Pods
from .waiting import Waiter
from .watch import SYNCED, Follower

if TYPE_CHECKING:
    from .connection import Connection

FIELD_MANAGER = "cniconformance"

_CONNECT_PATIENCE = 3.0
_SERVER_FIELDS = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid")


class KubeClient:
    """One cluster, by one kubeconfig context. Thread-safe: share it freely.

    Every method raises :class:`~pytest_cniconformance.kube.errors.KubeError`; its message names the request, the
    API's reason and what to do. 429, 5xx and dropped connections are retried for ``Timeouts.retry_for`` seconds.
    """

    def __init__(self, connection: Connection, *, timeouts: Timeouts | None = None) -> None:
        from .transport import Transport

        self.connection = connection
        self.timeouts = timeouts or Timeouts()
        self._transport = Transport(connection, self.timeouts)
        self._discovery = Discovery(self._transport)
        self._version: dict[str, Any] | None = None
        self._pods = Pods(self._transport)

    @classmethod
    def connect(
        cls, kubeconfig: str | None = None, context: str | None = None, *, timeouts: Timeouts | None = None
    ) -> KubeClient:
        """Connect to the cluster of a kubeconfig context (the current one by default).

        Raises :class:`UsageError` if there is no kubeconfig, no such context, no API server or no valid login.
        """
        from .connection import Connection

        client = cls(Connection.load(kubeconfig, context), timeouts=timeouts)
        call = Call("connect to", f'the cluster of context "{client.context}"', "version")
        try:
            patience = min(_CONNECT_PATIENCE, client.timeouts.retry_for)
            client._version = client._json(call, "GET", "/version", retry_for=patience)
        except (Unreachable, Unauthorized) as error:
            client.close()
            hint = "" if CHOOSE_ANOTHER in str(error) else f". {CHOOSE_ANOTHER}"
            raise UsageError(f"{error}{hint}") from None
        except KubeError:
            pass  # it answers; what is forbidden or broken there is preflight's to say
        return client

    @property
    def server(self) -> str:
        """The API server's URL, without credentials."""
        return str(self.connection.server)

    @property
    def context(self) -> str:
        """The kubeconfig context in use, ``in-cluster`` inside a pod."""
        return self.connection.context

    def close(self) -> None:
        """Let go of all connections; waits and retries under way end at once."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- the cluster --------------------------------------------------------------------------------------------

    def version(self) -> dict[str, Any]:
        """Return the API server's ``/version``: ``gitVersion``, ``major``, ``minor``, ``platform`` and others."""
        if self._version is None:
            self._version = self._json(Call("get", "the server version", "version"), "GET", "/version")
        return dict(self._version)

    def api_resources(self, *, refresh: bool = False) -> set[tuple[str, str]]:
        """Return every ``(apiVersion, kind)`` that the cluster serves; asked once unless ``refresh``."""
        return self._discovery.served(refresh=refresh)

    def has(self, api_version: str, kind: str, *, refresh: bool = False) -> bool:
        """Whether the cluster serves ``kind`` of ``api_version``; answered from memory unless ``refresh``."""
        return self._discovery.has(api_version, kind, refresh=refresh)

    def resource(self, api_version: str, kind: str) -> Resource:
        """Return the resource name and path of a kind; raises ``UnknownKind`` if it is not served."""
        return self._discovery.resource(api_version, kind)

    def can_i(self, verb: str, group: str, resource: str, namespace: str | None = None) -> bool:
        """Whether this login may do ``verb`` on ``resource`` (``"pods"``, ``"pods/exec"``) of API ``group``."""
        plural, _, subresource = resource.partition("/")
        attributes = {"verb": verb, "group": group, "resource": plural, "subresource": subresource}
        attributes["namespace"] = namespace or ""
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {key: value for key, value in attributes.items() if value}},
        }
        call = Call("create", "SelfSubjectAccessReview", "selfsubjectaccessreviews.authorization.k8s.io")
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = self._json(call, "POST", path, body=review)
        return bool((answer.get("status") or {}).get("allowed"))

    # -- objects ------------------------------------------------------------------------------------------------

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Obj:
        """Return one object; raises ``NotFound``."""
        resource = self.resource(api_version, kind)
        call = _call("get", resource, name, namespace)
        return self._json(call, "GET", resource.path(namespace, name))

    def list(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        *,
        labels: Selector = None,
        fields: Selector = None,
    ) -> list[Obj]:
        """Return all matching objects, of all namespaces if ``namespace`` is None."""
        return list_all(self._transport, self._scope(api_version, kind, namespace, labels, fields))[0]

    def apply(self, obj: Obj, *, dry_run: bool = False) -> Obj:
        """Make the object so by server-side apply, whether or not it exists; returns it as the API has it.

        Fields that a person or a controller set stay as they are unless ``obj`` names them. Unknown fields are
        an error, so that a misspelt field cannot turn a check into one of something else.
        """
        from .transport import APPLY_PATCH

        resource, name, namespace = self._identify(obj)
        call = _call("apply", resource, name, namespace)
        query = {
            "fieldManager": FIELD_MANAGER,
            "force": "true",
            "fieldValidation": "Strict",
            "dryRun": "All" if dry_run else None,
        }
        path = resource.path(namespace, name)
        return self._until_settled(call, path, query=query, body=_intent(obj), content_type=APPLY_PATCH)

    def create(self, obj: Obj, *, dry_run: bool = False) -> Obj:
        """Create the object; raises ``AlreadyExists`` if it is there.

        Where the answer to an earlier attempt was lost, an object of that name which carries the run id of
        ``obj`` counts as created by it.
        """
        resource, name, namespace = self._identify(obj)
        call = _call("create", resource, name or meta(obj).get("generateName", "") + "…", namespace)
        query = {
            "fieldManager": FIELD_MANAGER,
            "fieldValidation": "Strict",
            "dryRun": "All" if dry_run else None,
        }
        run = (meta(obj).get("labels") or {}).get(LABEL_RUN)
        path = resource.path(namespace)
        try:
            # With generateName a repeated request would leave two objects.
            return self._json(call, "POST", path, query=query, body=obj, idempotent=bool(name))
        except AlreadyExists as error:
            if not error.ambiguous or not run:
                raise
            present = self.get(resource.api_version, resource.kind, name, namespace)
            if (meta(present).get("labels") or {}).get(LABEL_RUN) != run:
                raise
            return present

    def patch(self, api_version: str, kind: str, name: str, patch: Obj, namespace: str | None = None) -> Obj:
        """Merge ``patch`` (RFC 7386: null removes) into the object and return it."""
        from .transport import MERGE_PATCH

        resource = self.resource(api_version, kind)
        call = _call("patch", resource, name, namespace)
        path = resource.path(namespace, name)
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        return self._until_settled(call, path, query=query, body=patch, content_type=MERGE_PATCH)

    def patch_status(self, api_version: str, kind: str, name: str, status: Obj, namespace: str) -> Obj:
        """Merge into the status of an object, lists by their keys (strategic merge patch), and return it."""
        from .transport import STRATEGIC_PATCH

        resource = self.resource(api_version, kind)
        call = _call("patch", resource, f"{name}/status", namespace)
        path = resource.path(namespace, name) + "/status"
        query = {"fieldManager": FIELD_MANAGER}
        body = {"status": status}
        return self._until_settled(call, path, query=query, body=body, content_type=STRATEGIC_PATCH)

    def delete(
        self,
        api_version: str,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        grace: int | None = None,
        missing_ok: bool = True,
        uid: str | None = None,
    ) -> None:
        """Ask for deletion, dependents in the background; returns without waiting for it.

        ``grace`` is in seconds. With ``uid`` only that very object goes, not one that took its name
        (``Conflict`` otherwise).
        """
        resource = self.resource(api_version, kind)
        call = _call("delete", resource, name, namespace)
        options: Obj = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            self._transport.request(call, "DELETE", resource.path(namespace, name), body=options)
        except NotFound as error:
            if not missing_ok and not error.ambiguous:
                raise

    # -- changes ------------------------------------------------------------------------------------------------

    def watch(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        *,
        labels: Selector = None,
        fields: Selector = None,
        resource_version: str | None = None,
        timeout: float,
    ) -> Iterator[tuple[str, Obj]]:
        """Yield ``("ADDED" | "MODIFIED" | "DELETED", object)`` for ``timeout`` seconds, then end.

        Without ``resource_version`` it starts with the present objects as ADDED. Streams that are cut, closed
        or expired are resumed; where the API no longer has the history, the difference is worked out by a list.
        """
        scope = self._scope(api_version, kind, namespace, labels, fields)
        follower = Follower(self._transport, scope, resource_version=resource_version, timeout=timeout)
        return (event for event in follower.events() if event[0] != SYNCED)

    def wait_for(
        self,
        api_version: str,
        kind: str,
        predicate: Callable[[Obj | None], bool],
        *,
        name: str | None = None,
        labels: Selector = None,
        namespace: str | None = None,
        timeout: float,
        what: str,
    ) -> Obj:
        """Return the first object that satisfies ``predicate``; ``what`` finishes "waited for …" in the error.

        The predicate gets each object with that name or those labels, and None while there is none; if it
        accepts None, the answer is ``{}``. Raises ``WaitTimeout`` with the last state seen.
        """
        fields = {"metadata.name": name} if name else None
        scope = self._scope(api_version, kind, namespace, labels, fields)
        return self._waiter(scope, timeout, what).first(predicate, name)

    def wait_for_all(
        self,
        api_version: str,
        kind: str,
        predicate: Callable[[Obj], bool],
        *,
        names: Collection[str],
        labels: Selector = None,
        namespace: str | None = None,
        timeout: float,
        what: str,
    ) -> dict[str, Obj]:
        """Return the objects called ``names`` once each of them satisfies ``predicate``, by one watch."""
        scope = self._scope(api_version, kind, namespace, labels, None)
        return self._waiter(scope, timeout, what).every(predicate, names)

    def _waiter(self, scope: Scope, timeout: float, what: str) -> Waiter:
        events = functools.partial(self.resource, "v1", "Event")
        return Waiter(self._transport, scope, events=events, timeout=timeout, what=what)

    # -- pods ---------------------------------------------------------------------------------------------------

    def open_exec(
        self, namespace: str, pod: str, argv: Sequence[str], *, container: str | None = None
    ) -> ExecStream:
        """Start ``argv`` in a container and return its stream; opening it may take ``Timeouts.exec_open`` s."""
        return self._pods.open_exec(namespace, pod, argv, container=container)

    def exec(
        self,
        namespace: str,
        pod: str,
        argv: Sequence[str],
        *,
        container: str | None = None,
        stdin: bytes | None = None,
        timeout: float | None = None,
    ) -> ExecResult:
        """Run ``argv`` to its end and return what it printed and its exit code (which may be non-zero).

        Raises ``WaitTimeout`` after ``timeout`` seconds (default ``Timeouts.request``), ``StreamCut`` if the
        stream broke or the command could not be started. Nothing is run twice.
        """
        timeout = self.timeouts.request if timeout is None else timeout
        return self._pods.run(namespace, pod, argv, container=container, stdin=stdin, timeout=timeout)

    def logs(
        self,
        namespace: str,
        pod: str,
        *,
        container: str | None = None,
        tail: int | None = None,
        previous: bool = False,
    ) -> str:
        """Return a container's log, the last ``tail`` lines of it if given."""
        return self._pods.logs(namespace, pod, container=container, tail=tail, previous=previous)

    def pykube(self) -> Any:
        """Return a ``pykube.HTTPClient`` on the same context, for authors who like that API."""
        import pykube

        selected = self.connection.selected
        if selected.in_cluster:
            config = pykube.KubeConfig.from_service_account()
        else:
            config = pykube.KubeConfig(copy.deepcopy(selected.document), current_context=selected.context)
        return pykube.HTTPClient(config, timeout=self.timeouts.request)

    # -- inside -------------------------------------------------------------------------------------------------

    def _scope(
        self, api_version: str, kind: str, namespace: str | None, labels: Selector, fields: Selector
    ) -> Scope:
        return Scope(self.resource(api_version, kind), namespace, labels, fields)

    def _identify(self, obj: Obj) -> tuple[Resource, str, str | None]:
        resource = self.resource(obj["apiVersion"], obj["kind"])
        namespace = meta(obj).get("namespace") if resource.namespaced else None
        if resource.namespaced and not namespace:
            namespace = self.connection.selected.namespace
        return resource, meta(obj).get("name", ""), namespace

    def _until_settled(self, call: Call, path: str, **request: Any) -> Obj:
        """PATCH without a resource version: a conflict only means that another writer was faster."""
        backoff = self._transport.backoff()
        while True:
            try:
                return self._json(call, "PATCH", path, **request)
            except Conflict:
                if not backoff.pause():
                    raise

    def _json(self, call: Call, method: str, path: str, **request: Any) -> Obj:
        return self._transport.request(call, method, path, **request).document(call)


def _call(verb: str, resource: Resource, name: str, namespace: str | None) -> Call:
    return Call(verb, describe(resource.kind, name, namespace), resource.full_name, namespace)


def _intent(obj: Obj) -> Obj:
    """Return ``obj`` without what the server keeps, so that an object just read can be applied again."""
    metadata = {key: value for key, value in meta(obj).items() if key not in _SERVER_FIELDS}
    return {key: value for key, value in obj.items() if key != "status"} | {"metadata": metadata}
