"""Everything that says R4, R4B or R5: resources as bytes, their rules, their search parameters, and how releases convert.

Outside this package a release is a label and a resource is opaque bytes; fhir.resources is imported only here.
"""
