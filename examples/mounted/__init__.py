"""A café whose site is a web application of its own, with the gateway mounted into it: FastAPI, Starlette, Django."""
