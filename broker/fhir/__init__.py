"""Everything that differs between R4, R4B and R5, and everything that FHIR itself defines.

It reads and writes resources, validates them, converts them between releases, and knows their search
parameters. Other packages use the neutral model and `Resource`.
"""
