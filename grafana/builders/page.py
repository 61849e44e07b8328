"""A whole dashboard: variables, links, and rows of panels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    DashboardLinkType,
    Panel,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from grafana.builders.panels import DATASOURCE
from taskflow.metrics.catalogue import BUILD_INFO, TASKS

__all__ = ["OVERVIEW_UID", "TASK_UID", "Row", "assemble", "every_task", "one_task"]

OVERVIEW_UID = "taskflow-overview"
TASK_UID = "taskflow-task"

TAG = "taskflow"


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: Sequence[Builder[Panel]]


def assemble(
    uid: str, title: str, description: str, task: dashboard.QueryVariable, rows: Sequence[Row]
) -> Dashboard:
    """A dashboard that can be imported and provisioned alike.

    Args:
        uid: its fixed id, which links name.
        title: its name.
        description: the question that it answers.
        task: the variable ``task``.
        rows: what is on it.
    """
    page = _empty_page(uid, title, description).variables([_datasource(), _job(), _instance(), task])
    for row in rows:
        page = page.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            page = page.with_panel(panel)
    return _numbered(page.build())


def _empty_page(uid: str, title: str, description: str) -> dashboard.Dashboard:
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
        .link(_other_dashboards())
        .annotation(_alerts())
    )


def _numbered(page: Dashboard) -> Dashboard:
    """Give every panel a fixed id: links to a single panel name it."""
    for number, panel in enumerate(page.panels or [], start=1):
        panel.id_val = number
    return page


def _other_dashboards() -> dashboard.DashboardLink:
    link = dashboard.DashboardLink("Taskflow").type(DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.icon("external link").include_vars(True).keep_time(True)


def _alerts() -> dashboard.AnnotationQuery:
    firing = 'ALERTS{alertname=~"Taskflow.+", alertstate="firing", job=~"$job"}'
    marks = dashboard.AnnotationQuery().name("Alerts").datasource(DATASOURCE).expr(firing)
    return marks.enable(True).icon_color("red")


def _datasource() -> dashboard.DatasourceVariable:
    # Of this type and name it works for an import by hand and for provisioning: that does
    # not fill in `${DS_...}` inputs.
    return dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")


def _job() -> dashboard.QueryVariable:
    return _many(_query("job", f"label_values({BUILD_INFO.name}, job)"))


def _instance() -> dashboard.QueryVariable:
    return _many(_query("instance", f'label_values({BUILD_INFO.name}{{job=~"$job"}}, instance)'))


def every_task() -> dashboard.QueryVariable:
    """The variable ``task`` of a dashboard about any number of tasks."""
    return _many(one_task())


def one_task() -> dashboard.QueryVariable:
    """The variable ``task`` of a dashboard about a single task."""
    return _query("task", f'label_values({TASKS.name}{{job=~"$job", instance=~"$instance"}}, task)')


def _query(name: str, query: str) -> dashboard.QueryVariable:
    variable = dashboard.QueryVariable(name).label(name.title()).query(query).datasource(DATASOURCE)
    return variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)


def _many(variable: dashboard.QueryVariable) -> dashboard.QueryVariable:
    everything = VariableOption(selected=True, text=["All"], value=["$__all"])
    return variable.multi(True).include_all(True).all_value(".+").current(everything)
