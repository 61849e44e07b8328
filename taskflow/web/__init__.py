"""All that knows FastAPI and Starlette: background tasks, injection, middleware, lifespan.

Knows the engine and the core, and of the manager only the protocol in `taskflow.web.host`.
"""
