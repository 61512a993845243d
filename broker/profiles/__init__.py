"""Profiles of FHIR: StructureDefinitions compiled to checks of resources.

`catalog.py` is the face. `definitions.py` reads definitions, `trees.py` lays a differential over its base,
`compiler.py` turns a tree into closures.
"""
