"""The kinds of panel that the dashboards use, each with everything that they have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TypeVar

from grafana_foundation_sdk.builders import common, heatmap, stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import DashboardLink, ThresholdsConfig
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

__all__ = [
    "DATASOURCE",
    "LEVEL_COLOURS",
    "STATE_COLOURS",
    "STATUS_COLOURS",
    "Column",
    "Frame",
    "Query",
    "at_least",
    "at_most",
    "drill_down",
    "graph",
    "number",
    "spectrum",
    "tabulation",
]

DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")

GREEN, YELLOW, RED, BLUE, GREY = "green", "yellow", "red", "blue", "#8e8e8e"

STATUS_COLOURS = {"success": GREEN, "failed": RED, "interrupted": YELLOW, "cancelled": GREY}
STATE_COLOURS = {"pending": YELLOW, "running": GREEN, "retrying": RED}
LEVEL_COLOURS = {"error": RED, "warning": YELLOW, "info": GREEN, "debug": GREY}


def at_most(warning: float, critical: float) -> ThresholdsConfig:
    """Thresholds of what should be low."""
    return _thresholds((None, GREEN), (warning, YELLOW), (critical, RED))


def at_least(warning: float, critical: float) -> ThresholdsConfig:
    """Thresholds of what should be high."""
    return _thresholds((None, RED), (critical, YELLOW), (warning, GREEN))


def _thresholds(*steps: tuple[float | None, str]) -> ThresholdsConfig:
    config = ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE)
    return config.steps([Threshold(value=value, color=colour) for value, colour in steps])


NO_LIMIT = _thresholds((None, GREEN))
"""Where no value is too high or too low."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What every panel has.

    Attributes:
        title: what is shown.
        description: what it means, and what to do about it.
        unit: of the values, as Grafana names it.
        width: in columns, of which a dashboard has 24.
        thresholds: where values change their colour.
        no_value: what stands there without data.
    """

    title: str
    description: str
    unit: str
    width: int
    thresholds: ThresholdsConfig = NO_LIMIT
    no_value: str = "–"


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel.

    Attributes:
        expr: PromQL.
        legend: the name of its series, with labels as ``{{task}}``.
        exemplars: whether single traces are shown with it; for histograms.
        instant: whether only the value at the end of the shown time counts.
    """

    expr: str
    legend: str = ""
    exemplars: bool = False
    instant: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its heading, an instant query, and the unit and thresholds of its values."""

    title: str
    expr: str
    unit: str
    thresholds: ThresholdsConfig = NO_LIMIT


AnyPanel = TypeVar("AnyPanel", stat.Panel, timeseries.Panel, table.Panel, heatmap.Panel)


def _framed(panel: AnyPanel, frame: Frame, height: int = 8) -> AnyPanel:
    return (
        panel.title(frame.title)
        .description(frame.description)
        .datasource(DATASOURCE)
        .unit(frame.unit)
        .thresholds(frame.thresholds)
        .no_value(frame.no_value)
        .span(frame.width)
        .height(height)
    )


def _target(
    query: Query, ref_id: str = "A", kind: PromQueryFormat = PromQueryFormat.TIME_SERIES
) -> Dataquery:
    target = Dataquery().datasource(DATASOURCE).expr(query.expr).format(kind).ref_id(ref_id)
    target = target.legend_format(query.legend).exemplar(query.exemplars)
    return target.instant() if query.instant else target.range()


def number(frame: Frame, query: Query) -> stat.Panel:
    """One number in the colour of its thresholds, over a small graph of how it came about."""
    reduced = common.ReduceDataOptions().calcs(["lastNotNull"])
    return (
        _framed(stat.Panel(), frame, height=4)
        .color_mode(BigValueColorMode.BACKGROUND)
        .graph_mode(BigValueGraphMode.NONE if query.instant else BigValueGraphMode.AREA)
        .reduce_options(reduced)
        .with_target(_target(query))
    )


def graph(
    frame: Frame,
    *queries: Query,
    stacked: bool = False,
    colours: Mapping[str, str] = {},
    link: DashboardLink | None = None,
    from_zero: bool = True,
) -> timeseries.Panel:
    """Lines over time; thresholds are dashed lines in it.

    Args:
        frame: title and the like.
        queries: what is drawn.
        stacked: whether the lines add up.
        colours: of single lines, by legend; the others get one each.
        link: what a click on a line offers.
        from_zero: whether the axis begins at zero, so that noise does not look like a storm.
    """
    panel = (
        _framed(timeseries.Panel(), frame)
        .line_width(1)
        .fill_opacity(30 if stacked else 8)
        .show_points(VisibilityMode.NEVER)
        .stacking(common.StackingConfig().mode(StackingMode.NORMAL if stacked else StackingMode.NONE))
        .thresholds_style(common.GraphThresholdsStyleConfig().mode(_threshold_style(frame)))
        .legend(_legend())
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
        .data_links([link] if link else [])
    )
    if from_zero:
        panel = panel.axis_soft_min(0)
    for ref_id, query in zip(ascii_uppercase, queries, strict=False):
        panel = panel.with_target(_target(query, ref_id))
    for name, colour in colours.items():
        panel = panel.override_by_name(name, [_fixed(colour)])
    return panel


def _threshold_style(frame: Frame) -> GraphThresholdsStyleMode:
    return GraphThresholdsStyleMode.OFF if frame.thresholds is NO_LIMIT else GraphThresholdsStyleMode.DASHED


def _legend() -> common.VizLegendOptions:
    options = common.VizLegendOptions().show_legend(True).display_mode(LegendDisplayMode.TABLE)
    return options.placement(LegendPlacement.BOTTOM).calcs(["lastNotNull", "max"])


def _fixed(colour: str) -> DynamicConfigValue:
    return DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": colour})


def spectrum(frame: Frame, expr: str) -> heatmap.Panel:
    """A histogram over time, with exemplars as dots.

    Args:
        frame: title and the like.
        expr: how much each bucket grew, by ``le``.
    """
    query = Query(expr=expr, legend="{{le}}", exemplars=True)
    return (
        _framed(heatmap.Panel(), frame)
        .calculate(False)
        .color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64))
        .cell_values(heatmap.CellValues().unit("short"))
        .y_axis(heatmap.YAxisConfig().unit(frame.unit))
        .with_target(_target(query, kind=PromQueryFormat.HEATMAP))
    )


def tabulation(
    frame: Frame,
    columns: Sequence[Column],
    headings: Mapping[str, str],
    links: Mapping[str, DashboardLink] = {},
    worst: str | None = None,
) -> table.Panel:
    """Instant queries side by side: one row for each combination of their labels.

    Args:
        frame: title and the like.
        columns: the queries.
        headings: of the labels, by label.
        links: what a click on a label's value opens, by heading.
        worst: the heading of the column whose highest values come first.
    """
    panel = _framed(table.Panel(), frame).with_transformation(_transformation("merge", {}))
    names = _names_of_values(columns)
    order = {name: place for place, name in enumerate([*headings, *names])}
    organize = {"excludeByName": {"Time": True}, "renameByName": {**headings, **names}, "indexByName": order}
    panel = panel.with_transformation(_transformation("organize", organize))
    for ref_id, column in zip(ascii_uppercase, columns, strict=False):
        query = Query(expr=_finite(column.expr), instant=True)
        panel = panel.with_target(_target(query, ref_id, PromQueryFormat.TABLE))
        panel = panel.override_by_name(column.title, _cells(column))
    if worst is not None:
        panel = panel.sort_by([common.TableSortByFieldState().display_name(worst).desc(True)])
    for heading, link in links.items():
        panel = panel.override_by_name(heading, [DynamicConfigValue(id_val="links", value=[link.build()])])
    return panel


def _names_of_values(columns: Sequence[Column]) -> dict[str, str]:
    # Grafana numbers the values of several queries, and not those of a single one.
    if len(columns) == 1:
        return {"Value": columns[0].title}
    lettered = zip(ascii_uppercase, columns, strict=False)
    return {f"Value #{ref_id}": column.title for ref_id, column in lettered}


def _finite(expr: str) -> str:
    # NaN is what ratios and quantiles are of a task that did not run; a cell should stay empty then.
    return f"({expr}) >= 0"


def _transformation(name: str, options: object) -> DataTransformerConfig:
    return DataTransformerConfig(id_val=name, options=options)


def _cells(column: Column) -> list[DynamicConfigValue]:
    return [
        DynamicConfigValue(id_val="unit", value=column.unit),
        DynamicConfigValue(id_val="thresholds", value=column.thresholds.build()),
        DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"}),
    ]


def drill_down(uid: str, task: str) -> DashboardLink:
    """A link to the dashboard of one task, for the time and the targets that are shown.

    Args:
        uid: of that dashboard.
        task: the variable of Grafana that holds the name of the task, which may need escaping.
    """
    kept = "${datasource:queryparam}&${job:queryparam}&${instance:queryparam}&${__url_time_range}"
    return DashboardLink("Show this task").url(f"/d/{uid}?var-task=${{{task}:percentencode}}&{kept}")
