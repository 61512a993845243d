"""The console: pages for people at `/console`, rendered here and readable without JavaScript.

`table.py` is the table of contents: every page and action with what a principal needs. `serving.py` takes a
request to its row: session, access, CSRF token, audit entry, template. Pages ask services and decide nothing
about access. `app/console.py` builds it at the first request for it.
"""
