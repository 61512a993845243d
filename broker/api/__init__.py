"""The HTTP interface.

`interactions.py` is the table of contents of a FHIR base, `routes.py` that of all other routes. A
request passes `asgi.py` (HTTP), `dispatch.py` (which row, and the access check) and one handler; a module a
group of rows.
"""
