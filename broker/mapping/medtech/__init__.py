"""The import of Microsoft MedTech (iomt-fhir) templates: device content and FHIR mapping templates become
mapping files. `templates.py` reads them, `importing.py` writes ours.
"""
