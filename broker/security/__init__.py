"""Who may ask for what, and secrets: clients and their keys, client assertions, scopes, the key ring, sealed
secrets of subscriptions, and signatures. No module here opens a connection: keys that are fetched and what is
stored come through protocols.
"""
