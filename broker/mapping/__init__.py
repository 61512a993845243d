"""Device payloads to FHIR Observations, by declarative mapping files.

Pure: a payload and a set of mappings give readings and problems (`reading.py`). Identity is named here and
resolved by the caller; nothing here is stored, sent or looked up. `ingest/` maps what it receives, `cli/`
checks and documents the files.
"""
