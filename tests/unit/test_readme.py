"""The README is the first thing that is tried: its code must run as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

from fastapi.testclient import TestClient

ROOT = Path(__file__).parents[2]


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def run(block: str) -> ModuleType:
    module = ModuleType("example")
    exec(compile(block, "README.md", "exec", dont_inherit=True), module.__dict__)
    return module


def test_the_first_example_adds_a_task_that_runs_and_logs() -> None:
    example = run(python_blocks(ROOT / "README.md")[0])
    with TestClient(example.app) as client:
        task_id = client.post("/signups", params={"email": "ada@example.com"}).json()

    record = example.manager.store.get(task_id)
    assert record.status == "success"
    assert [line.partition(" INFO ")[2] for line in record.logs] == ["sent to ada@example.com"]


def test_every_example_runs() -> None:
    for block in python_blocks(ROOT / "README.md"):
        run(block)


def test_every_link_to_a_file_of_the_repository_leads_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    links = [
        (page, link) for page in pages for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    ]
    assert links
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []


def test_the_table_of_states_is_the_state_machine() -> None:
    from taskflow.models import TRANSITIONS

    rows = re.findall(r"^\| `(\w+)` \|[^|]*\| (.*) \|$", (ROOT / "docs/index.md").read_text(), re.MULTILINE)
    written = {state: set(re.findall(r"`(\w+)`", followers)) for state, followers in rows}
    assert written == {
        state.value: {other.value for other in others} for state, others in TRANSITIONS.items()
    }
