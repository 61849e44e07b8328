#!/bin/sh
# FastAPI accepts a subclass of BackgroundTasks as an annotation, and passes a plain BackgroundTasks.
#
# Packages: fastapi 0.165.0, starlette 1.10.0
# Expected: a parameter annotated with a class of one's own that derives from BackgroundTasks gets an
#     object of that class; or the route is refused when it is declared, as one with any other
#     class that FastAPI does not know.
# Seen: FastAPI recognises it as BackgroundTasks (issubclass) and makes a BackgroundTasks: the
#     subclass's add_task() is never called, its new methods do not exist (AttributeError, a 500 on
#     the first request), and type checkers see nothing wrong.
# Matters: a subclass that logs, times or retries the tasks does nothing, silently, as long as it only
#     overrides; a library that offers such a subclass needs Depends().
# Source: fastapi/dependencies/utils.py: lenient_issubclass(..., StarletteBackgroundTasks), and
#     solve_dependencies: background_tasks = BackgroundTasks().
#
# Output:
#     fastapi 0.165.0
#     a parameter of an unknown class: FastAPIError when the route is declared
#     a parameter annotated with the subclass: fastapi.background.BackgroundTasks, status 200, the task ran
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check fastapi==0.165.0 starlette==1.10.0
cd "$work"
venv/bin/python - <<'END'
import asyncio
import importlib.metadata
import sys

from fastapi import BackgroundTasks, FastAPI
from fastapi.exceptions import FastAPIError

app = FastAPI()
seen = []


class LoggedTasks(BackgroundTasks):
    def add_task(self, func, *args, **kwargs):
        seen.append("add_task of the subclass")
        super().add_task(func, *args, **kwargs)


@app.get("/")
async def page(tasks: LoggedTasks) -> None:
    seen.append(f"{type(tasks).__module__}.{type(tasks).__qualname__}")
    tasks.add_task(seen.append, "the task ran")


async def ask():
    async def receive():
        return {"type": "http.request"}

    async def send(message):
        if message["type"] == "http.response.start":
            seen.append(f"status {message['status']}")

    scope = {"type": "http", "path": "/", "method": "GET", "headers": [], "query_string": b""}
    await app(scope, receive, send)


class Unknown:
    pass


print("fastapi", importlib.metadata.version("fastapi"))
try:

    @app.get("/unknown")
    async def refused(thing: Unknown) -> None:
        pass

except FastAPIError as error:
    print("a parameter of an unknown class:", type(error).__name__, "when the route is declared")
else:
    sys.exit("CHANGED: expected FastAPIError for an unknown class")
asyncio.run(ask())
print("a parameter annotated with the subclass:", ", ".join(seen))
if seen != ["fastapi.background.BackgroundTasks", "status 200", "the task ran"]:
    sys.exit("CHANGED: expected a plain BackgroundTasks, without a call of the subclass")
END
