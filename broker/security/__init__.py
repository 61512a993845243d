"""Who may ask for what: clients and their keys, client assertions, and the scopes that are granted. No module
here opens a connection: keys that are fetched and what is stored come through protocols.
"""
