# SPDX-License-Identifier: Apache-2.0
"""Every write to the cluster, as the API server carries it out: decode, default, admit, validate, store.

The HTTP handlers use it for clients; bootstrap code and controllers may use it in process for objects that should be
completed like a client's (``Writes.create``); status writers go to the store directly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_cniconformance.lab.api import admission, errors
from pytest_cniconformance.lab.api.addresses import SERVICE_CIDRS, Refused, ServiceAddresses
from pytest_cniconformance.lab.api.apply import Ownership
from pytest_cniconformance.lab.api.bodies import Bodies, Options, report_unknown
from pytest_cniconformance.lab.api.decode import apply_defaults
from pytest_cniconformance.lab.api.defaults import apply_builtin_defaults
from pytest_cniconformance.lab.api.kinds import CRD_KEY, Kinds
from pytest_cniconformance.lab.api.objects import SERVER_FIELDS, Obj, clone, name_of, now, set_condition
from pytest_cniconformance.lab.api.patch import json_patch, merge_patch, strategic_merge
from pytest_cniconformance.lab.api.schemas import Schemas
from pytest_cniconformance.lab.api.service_update import prepare_service_update
from pytest_cniconformance.lab.api.validation import validate

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from pytest_cniconformance.lab.api.errors import Cause
    from pytest_cniconformance.lab.api.kinds import Resource
    from pytest_cniconformance.lab.api.store import Event, Store

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

_CONDITIONAL_ONLY = frozenset({"leases.coordination.k8s.io"})  # no PUT without a resourceVersion


class Writes:
    """Creates, updates, patches and deletes objects with the real API's rules."""

    def __init__(
        self,
        store: Store,
        *,
        families: Sequence[str] = ("IPv4",),
        service_cidrs: Mapping[str, str] = SERVICE_CIDRS,
        kinds: Kinds | None = None,
        unvalidated: Collection[str] = (),
    ) -> None:
        self.store = store
        self._unvalidated = unvalidated  # resources that a fault lets everything in
        self.kinds = kinds or Kinds()
        self.schemas = Schemas()
        self.bodies = Bodies(self.schemas)
        self.addresses = ServiceAddresses(store, families, service_cidrs)
        self.ownership = Ownership(self.schemas)
        for crd in store.list(CRD_KEY):
            self.kinds.register(crd)
        store.observe(self._observe)

    def _observe(self, event: Event) -> None:
        if event.resource == CRD_KEY:
            if event.type == "DELETED":
                self.kinds.unregister(event.object)
            else:
                self.kinds.register(event.object)
        if event.type == "DELETED":
            self.ownership.forget(event.object)

    # --- create ------------------------------------------------------------------------------------------------

    def create_object(self, obj: Obj, *, trusted: bool = False) -> Obj:
        """Create an object of any served kind in process, as ``create`` does.

        A ``trusted`` one is not checked against its schema, which need not be loaded then.
        """
        resource = self.kinds.of_kind(str(obj.get("apiVersion")), str(obj.get("kind")))
        if resource is None:
            text = f'no matches for kind "{obj.get("kind")}" in version "{obj.get("apiVersion")}"'
            raise errors.bad_request(text)
        namespace = obj.get("metadata", {}).get("namespace")
        return self.create(resource, namespace, obj, Options(manager="", trusted=trusted))

    def create(
        self, resource: Resource, namespace: str | None, body: Obj, options: Options | None = None
    ) -> Obj:
        """Create an object from a request's body and return the stored one; raises ``ApiError``."""
        options = options or Options()
        obj = self.bodies.decode(resource, namespace, "", body, options)
        metadata = obj["metadata"]
        if metadata.get("resourceVersion"):
            raise errors.ApiError(500, "", "resourceVersion should not be set on objects to be created")
        for name in SERVER_FIELDS:
            metadata.pop(name, None)
        if not metadata.get("name") and (prefix := metadata.get("generateName")):
            metadata["name"] = prefix[:58] + admission.random_suffix()
        if resource.has_status():
            obj.pop("status", None)
        self._default(resource, obj)
        if resource.namespaced:
            admission.require_namespace(self.store, resource, obj)
        if resource.key == "pods":
            admission.admit_pod(self.store, obj, options.warnings)
        self._validate(resource, obj, None)
        if resource.key == "services":
            self._assign_addresses(resource, obj, None)
        if resource.key == CRD_KEY:
            _establish(obj)
        if self.store.get(resource.key, metadata.get("namespace"), metadata["name"]) is not None:
            raise errors.already_exists(resource.key, metadata["name"])
        if options.dry_run:
            return _as_if_stored(obj)
        stored = self.store.create(resource.key, obj)
        if options.manager:
            self.ownership.record_update(None, stored, self.schemas.root(resource), options.manager)
        return stored

    # --- update ------------------------------------------------------------------------------------------------

    def update(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Obj,
        options: Options,
        subresource: str = "",
    ) -> Obj:
        """Replace an object, or the part of it that a subresource stands for; raises ``ApiError``."""
        obj = self.bodies.decode(resource, namespace, name, body, options)
        old = self.store.get(resource.key, namespace, name)
        if old is None:
            raise errors.not_found(resource.key, name)
        if not obj["metadata"].get("resourceVersion") and (
            resource.custom or resource.key in _CONDITIONAL_ONLY
        ):
            text = "Invalid value: 0: must be specified for an update"
            cause = errors.Cause("metadata.resourceVersion", "FieldValueInvalid", text)
            raise errors.invalid(resource.qualified_kind, name, [cause])
        return self._write(resource, old, obj, options, subresource)

    def _write(
        self,
        resource: Resource,
        old: Obj,
        obj: Obj,
        options: Options,
        subresource: str,
        *,
        record: bool = True,
    ) -> Obj:
        name, metadata = name_of(old), obj["metadata"]
        metadata.pop("managedFields", None)
        if subresource == "status":
            given = obj
            obj = {**clone(old), "status": given.get("status", {})}
            obj["metadata"]["resourceVersion"] = metadata.get("resourceVersion")
        elif subresource == "finalize":
            finalizers = obj.get("spec", {}).get("finalizers", [])
            obj = clone(old)
            obj["spec"]["finalizers"] = finalizers
        else:
            for field_name in SERVER_FIELDS:
                if field_name not in ("resourceVersion", "uid"):
                    metadata.pop(field_name, None)
                    if field_name in old["metadata"]:
                        metadata[field_name] = old["metadata"][field_name]
            if resource.has_status():
                obj.pop("status", None)
                if "status" in old:
                    obj["status"] = old["status"]
            if resource.key == "services":
                prepare_service_update(obj, old)
            if resource.key == "namespaces":
                obj["spec"] = old.get("spec", {})
            self._default(resource, obj)
            if resource.key == "pods":
                _keep_admitted(obj["spec"], old["spec"])
            self._validate(resource, obj, old)
            if resource.key == "services":
                self._assign_addresses(resource, obj, old)
        if not metadata.get("resourceVersion"):
            obj["metadata"].pop("resourceVersion", None)
        elif metadata["resourceVersion"] != old["metadata"]["resourceVersion"]:
            raise errors.conflict(resource.key, name)
        if options.dry_run:
            return {**obj, "metadata": {**old["metadata"], **obj["metadata"]}}
        if resource.key == CRD_KEY and not subresource:
            _establish(obj)
        stored = self.store.update(resource.key, obj)
        if record and stored is not old:
            self.ownership.record_update(old, stored, self.schemas.root(resource), options.manager)
        return stored

    # --- patch -------------------------------------------------------------------------------------------------

    def patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        kind: str,
        patch: Any,
        options: Options,
        subresource: str = "",
    ) -> tuple[Obj, bool]:
        """Apply a patch of a media type; returns the object and whether it was created; raises ``ApiError``."""
        if kind == APPLY_PATCH:
            return self._apply(resource, namespace, name, patch, options, subresource)
        old = self.store.get(resource.key, namespace, name)
        if old is None:
            raise errors.not_found(resource.key, name)
        if kind == JSON_PATCH:
            changed = json_patch(dict(old), patch)
        elif not isinstance(patch, dict):
            raise errors.bad_request(
                "json: cannot unmarshal array into Go value of type map[string]interface {}"
            )
        elif kind == MERGE_PATCH:
            changed = merge_patch(old, patch)
        elif kind == STRATEGIC_PATCH and not resource.custom:
            changed = strategic_merge(old, patch, self.schemas.root(resource), self.schemas)
        else:
            supported = [JSON_PATCH, MERGE_PATCH, APPLY_PATCH]
            if not resource.custom:
                supported.insert(2, STRATEGIC_PATCH)
            text = (
                "the body of the request was in an unknown format - accepted media types include: "
                + ", ".join(supported)
            )
            raise errors.ApiError(415, "UnsupportedMediaType", text)
        obj = self.bodies.decode(resource, namespace, name, clone(changed), options)
        return self._write(resource, old, obj, options, subresource), False

    def _apply(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        config: Any,
        options: Options,
        subresource: str,
    ) -> tuple[Obj, bool]:
        if not isinstance(config, dict):
            raise errors.bad_request("error decoding YAML: the patch is not an object")
        if not options.manager:
            text = 'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
            raise errors.ApiError(422, "Invalid", text)
        strict = Options(validation="Ignore", warnings=options.warnings)
        unknown: list[str] = []
        obj = self.bodies.decode(resource, namespace, name, clone(config), strict, unknown=unknown)
        if unknown and not resource.custom:
            what = f"{namespace}/{name}" if namespace else f"/{name}"
            text = (
                f"failed to create typed patch object ({what}; {resource.api_version}, Kind={resource.kind}): "
                + "; ".join(f".{path}: field not declared in schema" for path in unknown)
            )
            raise errors.ApiError(500, "", text)
        if unknown:
            report_unknown(resource, unknown, options)
        schema = self.schemas.root(resource)
        old = self.store.get(resource.key, namespace, name)
        if old is None:
            if obj["metadata"].pop("uid", None) or obj["metadata"].pop("resourceVersion", None):
                raise errors.conflict(resource.key, name, "uid mismatch: the provided object does not exist")
            quiet = Options(dry_run=options.dry_run, manager="", warnings=options.warnings)
            created = self.create(resource, namespace, obj, quiet)
            if not options.dry_run:
                _, fields = self.ownership.merge(created, obj, schema, options.manager, force=True)
                self.ownership.record_apply(created, fields, options.manager, force=False)
            return created, True
        merged, fields = self.ownership.merge(old, obj, schema, options.manager, force=options.force)
        merged = clone(merged)
        if "resourceVersion" not in obj["metadata"]:
            merged["metadata"].pop("resourceVersion", None)
        stored = self._write(resource, old, merged, options, subresource, record=False)
        if not options.dry_run:
            self.ownership.record_apply(stored, fields, options.manager, force=options.force)
        return stored, False

    # --- delete ------------------------------------------------------------------------------------------------

    def delete(
        self, resource: Resource, namespace: str | None, name: str, body: Obj, options: Options
    ) -> Obj:
        """Delete an object as DeleteOptions say; returns its last or its marked state; raises ``ApiError``."""
        old = self.store.get(resource.key, namespace, name)
        if old is None:
            raise errors.not_found(resource.key, name)
        preconditions = body.get("preconditions") or {}
        for field_name, label in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
            wanted, present = preconditions.get(field_name), old["metadata"][field_name]
            if wanted and wanted != present:
                why = f"Precondition failed: {label} in precondition: {wanted}, {label} in object meta: {present}"
                raise errors.conflict(resource.key, name, why)
        if resource.key == "namespaces" and name in ("default", "kube-system", "kube-public"):
            raise errors.forbidden("namespaces", name, "this namespace may not be deleted")
        if options.dry_run:
            return old
        if resource.key == CRD_KEY:
            for obj in self.store.list(name):
                self.store.delete(name, obj["metadata"].get("namespace"), name_of(obj))
        if body.get("propagationPolicy") == "Orphan":
            self._orphan_dependents(old)
        return self.store.delete(resource.key, namespace, name, grace=body.get("gracePeriodSeconds"))

    def _orphan_dependents(self, owner: Obj) -> None:
        uid = owner["metadata"]["uid"]
        for key in self.store.resources():
            for obj in self.store.list(key):
                owners = obj["metadata"].get("ownerReferences") or ()
                if any(one["uid"] == uid for one in owners):
                    kept = [one for one in owners if one["uid"] != uid]
                    self.store.update(key, {**obj, "metadata": {**obj["metadata"], "ownerReferences": kept}})

    # --- steps -------------------------------------------------------------------------------------------------

    def _default(self, resource: Resource, obj: Obj) -> None:
        if resource.custom:
            apply_defaults(obj, resource.schema or {})
        else:
            apply_builtin_defaults(resource.key, obj)

    def _validate(self, resource: Resource, obj: Obj, old: Obj | None) -> None:
        causes: list[Cause] = validate(resource, obj, old)
        if causes and resource.key not in self._unvalidated:
            raise errors.invalid(resource.qualified_kind, name_of(obj), causes)

    def _assign_addresses(self, resource: Resource, obj: Obj, old: Obj | None) -> None:
        try:
            self.addresses.assign(obj, old)
        except Refused as refused:
            raise errors.invalid(resource.qualified_kind, name_of(obj), [refused.cause]) from None


def _keep_admitted(spec: Obj, before: Obj) -> None:
    """Fill in what admission added at creation and a client's manifest leaves out."""
    for name in ("nodeName", "tolerations", "serviceAccountName", "serviceAccount", "enableServiceLinks"):
        if name in before and name not in spec:
            spec[name] = before[name]
    for name in ("priority", "preemptionPolicy"):
        if name in before:
            spec.setdefault(name, before[name])


def _establish(crd: Obj) -> None:
    """Note in a CustomResourceDefinition's status that it is served: in the lab it is at once."""
    status = crd.setdefault("status", {})
    spec = crd["spec"]
    status["acceptedNames"] = spec["names"]
    status["storedVersions"] = [version["name"] for version in spec["versions"] if version.get("storage")]
    conditions = status.get("conditions", [])
    for kind, reason, text in (
        ("NamesAccepted", "NoConflicts", "no conflicts found"),
        ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ):
        condition = {"type": kind, "status": "True", "reason": reason, "message": text}
        conditions = set_condition(conditions, condition)
    status["conditions"] = conditions


def _as_if_stored(obj: Obj) -> Obj:
    metadata = {**obj["metadata"], "uid": "00000000-0000-4000-8000-000000000000", "creationTimestamp": now()}
    return {**obj, "metadata": metadata}
