#!/bin/sh
# taskiq: a NaN or infinite float arrives as None in a task whose parameter is annotated `float`.
#
# Packages: taskiq 0.13.0, pydantic 2.14.4
# Expected: the float itself (JSON as Python's `json` writes it, which is taskiq's serialiser, has
#     NaN and Infinity), or an error at the call: other values that cannot travel raise there.
# Seen: the task gets None. No warning, no error in the result, also with the broker in memory.
#     taskiq turns the message into plain values with pydantic's model_dump(mode="json") before the
#     serialiser sees it; that writes null for them. The worker converts arguments to their
#     annotations, but leaves None alone, as if each parameter were optional.
# Matters: measurements with gaps hold NaN; the task fails later at `None + 1`, in another process,
#     or stores NULL for "infinite".
# Source: taskiq/formatters/proxy_formatter.py, dumps; taskiq/receiver/params_parser.py, _parse_arg.
#
# Output:
#     taskiq 0.13.0 pydantic 2.14.4
#     default serialiser: JSONSerializer
#     sent 1.5   arrived 1.5   error: False
#     sent nan   arrived None  error: False
#     sent inf   arrived None  error: False
#     sent -inf  arrived None  error: False
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check taskiq==0.13.0 pydantic==2.14.4
cd "$work"
venv/bin/python - <<'END'
import asyncio
import importlib.metadata
import sys

from taskiq import InMemoryBroker

broker = InMemoryBroker()
arrived = []


@broker.task
async def store(value: float) -> None:
    arrived.append(value)


async def send(value):
    """What arrives in the task, and whether its result is an error."""
    task = await store.kiq(value)
    result = await task.wait_result(timeout=10)
    return repr(arrived.pop()), result.is_err


async def main():
    await broker.startup()
    values = ("1.5", "nan", "inf", "-inf")
    return {text: await send(float(text)) for text in values}


print("taskiq", importlib.metadata.version("taskiq"), "pydantic", importlib.metadata.version("pydantic"))
print("default serialiser:", type(broker.serializer).__name__)
seen = asyncio.run(main())
for sent, (value, failed) in seen.items():
    print(f"sent {sent:5} arrived {value:5} error: {failed}")
lost = ("None", False)
expected = {"1.5": ("1.5", False), "nan": lost, "inf": lost, "-inf": lost}
if seen != expected:
    sys.exit(f"CHANGED: expected {expected}")
END
