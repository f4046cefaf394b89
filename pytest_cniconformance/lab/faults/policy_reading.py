# SPDX-License-Identifier: Apache-2.0
"""Faults of reading a NetworkPolicy: directions, rules, peers, selectors."""

from __future__ import annotations

from pytest_cniconformance.lab.faults.fault import Fault, policy_fault

READING_FAULTS: tuple[Fault, ...] = (
    policy_fault(
        "egress-not-enforced",
        "only the ingress half of policies is enforced",
        "engines from before egress rules (kubernetes/kubernetes#51351); projectcalico/calico#1734",
        "DNS-POLICY-DENY",
        "NP-DEF-3",
        "NP-ISO-3",
    ),
    policy_fault(
        "direction-ignored",
        "every policy isolates in both directions, whatever its policyTypes",
        "projectcalico/felix#1180, projectcalico/calico#1360",
        "NP-ISO-4",
        "NP-EMP-4",
    ),
    policy_fault(
        "unlisted-section-enforced",
        "a rule section counts although policyTypes does not list its direction",
        "cilium/cilium#48703, aws/amazon-network-policy-controller-k8s#229",
        "NP-DEF-2",
        profiles=("calico",),
    ),
    policy_fault(
        "directions-share-rules",
        "what a policy's ingress rules allow its egress allows too, and the other way round",
        "one chain for each policy in place of one for each direction, as kube-router 2.1 has it",
        "NP-ISO-5",
    ),
    policy_fault(
        "default-types-wrong",
        "a policy with egress rules and no policyTypes does not isolate ingress",
        "tools that read manifests without the API's defaulting",
        "NP-DEF-1",
    ),
    policy_fault(
        "allow-rules-dropped",
        "an isolating policy isolates, but its allow rules never match",
        "cilium/cilium#46253: selector values lost in the parser",
        "NP-EMP-5",
        "NP-AND-1",
    ),
    policy_fault(
        "empty-list-allows",
        "a direction that is listed without rules is not isolated",
        "antrea-io/antrea#574 (0.4.0 to 0.5.0)",
        "NP-EMP-4",
        "NP-DEF-3",
        "NP-EMP-1",
    ),
    policy_fault(
        "empty-rule-matches-nothing",
        "a rule {} allows nothing",
        "translators to CiliumNetworkPolicy, where {} denies all",
        "NP-EMP-2",
    ),
    policy_fault(
        "only-first-rule",
        "only the first rule of a section is applied",
        "engines that read one rule of a section",
        "NP-AND-2",
    ),
    policy_fault(
        "cross-rule",
        "peers and ports of all rules of a policy are combined with one another",
        "engines that keep peers and ports for each policy, not for each rule",
        "NP-AND-2",
        "NP-AND-2-EGRESS",
    ),
    policy_fault(
        "no-peers-means-pods",
        "a rule without peers allows pods only, nobody outside the cluster",
        "engines that build their rules from pod addresses alone",
        "NP-EMP-3-EXT",
    ),
    policy_fault(
        "no-peers-means-own-namespace",
        "a rule without peers allows pods of the policy's own namespace only",
        "engines that fill an empty peer with the policy's namespace",
        "NP-EMP-3",
    ),
    policy_fault(
        "only-first-peer",
        "only the first entry of a rule's peer list is applied",
        "engines that read one peer of a rule",
        "NP-AND-1",
    ),
    policy_fault(
        "and-as-or",
        "namespaceSelector and podSelector in one peer are ORed",
        "Calico before 3.2 (ahmetb/kubernetes-network-policy-recipes#27)",
        "NP-AND-1",
        "NP-AND-1-EGRESS",
    ),
    policy_fault(
        "peer-not-namespaced",
        "a podSelector peer without namespaceSelector matches pods of every namespace",
        "naive policy converters",
        "NP-EMP-5",
        "NP-AND-3",
    ),
    policy_fault(
        "peer-namespace-ignored",
        "a peer's namespaceSelector is taken for the policy's own namespace",
        "converters that drop the namespaceSelector",
        "NP-AND-1",
        "NP-EMP-6",
    ),
    policy_fault(
        "namespace-selector-all-addresses",
        "an empty namespaceSelector matches every address, outside the cluster too",
        "engines that compile `all namespaces` to no source match",
        "NP-EMP-6-EXT",
    ),
    policy_fault(
        "negative-selects-world",
        "a peer with NotIn or DoesNotExist also matches addresses outside the cluster",
        "cilium/cilium#46949",
        "NP-SEL-3",
    ),
    policy_fault(
        "expressions-ignored",
        "matchExpressions of selectors have no effect",
        "cloudnativelabs/kube-router#614",
        "NP-SEL-1",
        "NP-SEL-2-EXISTS",
        "NP-SEL-2-SUBJECT",
    ),
    policy_fault(
        "expression-values-dropped",
        "the values of matchExpressions are lost: In matches nothing, NotIn everything",
        "cilium/cilium#46253",
        "NP-SEL-1",
    ),
    policy_fault(
        "in-first-value",
        "In matches only the first of its values",
        "parsers that turn In into one equality",
        "NP-SEL-4",
        "NP-SEL-2-IN",
    ),
    policy_fault(
        "notin-needs-key",
        "NotIn and DoesNotExist do not match objects without the key",
        "engines that read NotIn as a key that is there with another value",
        "NP-SEL-2-NOTIN",
        "NP-SEL-2-ABSENT",
    ),
)
