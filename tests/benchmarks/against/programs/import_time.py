"""Milliseconds of processor time for what the argument names, in a new process, with bytecode in a cache."""

import sys
import time
from typing import Any


def fastapi() -> Any:
    """FastAPI itself."""
    import fastapi

    return fastapi


def taskflow() -> Any:
    """What Taskflow needs beyond it."""
    import taskflow

    return taskflow


def admin() -> Any:
    """What the dashboard needs beyond that."""
    from taskflow import TaskAdmin

    return TaskAdmin


def parts(package: Any) -> Any:
    """A manager, and an application with a route: the first one of a process makes FastAPI import more."""
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/items/{number}")
    async def item(number: int) -> dict[str, int]:
        return {"number": number}

    return app, package.TaskManager(handle_signals=False)


if __name__ == "__main__":
    what = sys.argv[1]
    times = [time.process_time()]
    fastapi()
    times.append(time.process_time())
    package = taskflow()
    times.append(time.process_time())
    admin()
    times.append(time.process_time())
    if what == "TaskAdmin":
        given = parts(package)
        times.append(time.process_time())
        package.TaskAdmin(*given)
        times.append(time.process_time())
        print(1e3 * (times[-1] - times[-2]))
    else:
        begin, end = {"fastapi": (0, 1), "taskflow": (1, 2), "both": (1, 3)}[what]
        print(1e3 * (times[end] - times[begin]))
