"""What a PromQL query asks for, by a real parser."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import promql_parser
from promql_parser import AggregateExpr, BinaryExpr, Call, MatrixSelector, VectorSelector

from taskflow.metrics import CATALOGUE

TARGET_LABELS = frozenset({"job", "instance"})
"""What Prometheus puts on every series of a target."""

PARTS = {"histogram": {"_bucket": {"le"}, "_count": set(), "_sum": set()}}
"""The series that a kind of metric is stored as, and the labels that they have on top."""

GRAFANA_VARIABLES = {"$__rate_interval": "1m", "$__range": "1h"}


@dataclass(frozen=True)
class Use:
    """One metric in a query, and the labels by which it is selected, grouped or matched."""

    metric: str
    labels: frozenset[str]


@dataclass
class Reader:
    """Collects uses on a walk through a query; groupings around a selector apply to it."""

    uses: set[Use] = field(default_factory=set)
    around: list[frozenset[str]] = field(default_factory=lambda: [frozenset()])

    def enter(self, node: object) -> None:
        # A scalar has no labels: what is around it does not ask for any.
        scalar = isinstance(node, Call) and node.func.name == "scalar"
        self.around.append(frozenset() if scalar else self.around[-1] | grouping(node))
        selector = node.vector_selector if isinstance(node, MatrixSelector) else node
        if isinstance(selector, VectorSelector):
            matched = {matcher.name for matcher in selector.matchers.matchers}
            self.uses.add(Use(selector.name, self.around[-1] | matched))

    def leave(self, _node: object) -> None:
        self.around.pop()


def grouping(node: object) -> set[str]:
    """The labels of ``by (...)`` and ``on (...)``."""
    if isinstance(node, AggregateExpr) and node.modifier is not None:
        return set(node.modifier.labels)
    if isinstance(node, BinaryExpr) and node.modifier is not None and node.modifier.matching is not None:
        return set(node.modifier.matching.labels)
    return set()


def fill_in(query: str, variables: dict[str, str] = GRAFANA_VARIABLES) -> str:
    """A query of a dashboard with values for Grafana's variables."""
    for name, value in variables.items():
        query = query.replace(name, value)
    return query


def uses(query: str) -> set[Use]:
    """Every metric that a query names. Raises `ValueError` if it is not PromQL."""
    reader = Reader()
    promql_parser.walk(promql_parser.parse(fill_in(query)), reader.enter, reader.leave)
    return reader.uses


def uses_of_variable(query: str) -> set[Use]:
    """The same of a Grafana variable: ``label_values(selector, label)``."""
    selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", query).groups()
    return {Use(use.metric, use.labels | {label}) for use in uses(selector)}


def stored_series() -> dict[str, frozenset[str]]:
    """The labels of every series that Taskflow exports, by name, as Prometheus stores them."""
    return {
        metric.name + part: TARGET_LABELS.union(metric.labels, added)
        for metric in CATALOGUE
        for part, added in PARTS.get(metric.kind, {"": set()}).items()
    }


def unknown(found: set[Use], known: dict[str, frozenset[str]]) -> list[Use]:
    """The uses of a metric, or of a label, that ``known`` does not have."""
    strange = [use for use in found if use.metric not in known or not use.labels <= known[use.metric]]
    return sorted(strange, key=lambda use: use.metric)
