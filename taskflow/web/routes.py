"""Finding routes that ask for managed background tasks in a way that gives them plain ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any, get_type_hints

from fastapi.dependencies.models import Dependant

from taskflow.core.exceptions import ConfigurationError
from taskflow.core.names import code_function
from taskflow.web.background import ManagedBackgroundTasks

__all__ = ["refuse_bare_annotations"]

INSTEAD = (
    "FastAPI makes a plain BackgroundTasks of this annotation: no ids, no retries, nothing kept. Write "
    "Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)], or call manager.install(app)"
)


def refuse_bare_annotations(routes: Iterable[object]) -> None:
    """Refuse ``tasks: ManagedBackgroundTasks`` without ``Depends``, in routes and in their dependencies.

    Raises:
        ConfigurationError: there is one; the message names the function and its parameter.
    """
    for call, parameter in _bare_annotations(routes):
        annotation = f"{parameter}: ManagedBackgroundTasks"
        raise ConfigurationError(code_function(call), annotation, INSTEAD)


def _bare_annotations(routes: Iterable[object]) -> Iterator[tuple[Callable[..., Any], str]]:
    for route in routes:
        dependant = getattr(route, "dependant", None)
        if isinstance(dependant, Dependant):
            yield from _in_dependant(dependant)
        mounted = getattr(route, "routes", None)
        if mounted:
            yield from _bare_annotations(mounted)


def _in_dependant(dependant: Dependant) -> Iterator[tuple[Callable[..., Any], str]]:
    name, call = dependant.background_tasks_param_name, dependant.call
    if name is not None and call is not None and _asks_for_managed(call, name):
        yield call, name
    for dependency in dependant.dependencies:
        yield from _in_dependant(dependency)


def _asks_for_managed(call: Callable[..., Any], name: str) -> bool:
    try:
        annotation = get_type_hints(call).get(name)
    except Exception:  # names that only FastAPI resolves: then the annotation as it is must do
        annotation = inspect.signature(call).parameters[name].annotation
    if isinstance(annotation, str):
        return annotation.rpartition(".")[2] == ManagedBackgroundTasks.__name__
    return isinstance(annotation, type) and issubclass(annotation, ManagedBackgroundTasks)
