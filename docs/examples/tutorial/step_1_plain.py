"""Step 1: FastAPI's own background tasks."""

from fastapi import BackgroundTasks, FastAPI

app = FastAPI()


def send_welcome(address: str) -> None:
    """The mail server is a stand-in: it is always busy."""
    raise ConnectionError(f"busy, {address} has to wait")


def count_signup(address: str) -> None:
    """The next task of the same request."""
    print(f"counted {address}")


@app.post("/signups", status_code=202)
async def sign_up(address: str, background_tasks: BackgroundTasks) -> dict[str, str]:
    """Answer first; the tasks run afterwards."""
    background_tasks.add_task(send_welcome, address)
    background_tasks.add_task(count_signup, address)
    return {"status": "accepted"}
