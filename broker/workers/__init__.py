"""The supervised loops: matcher, dispatcher, inbox reader, housekeeper, topic sync. Each may run in several
processes.
"""
