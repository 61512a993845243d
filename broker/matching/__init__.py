"""Pure matching: from a change, the topics and the subscriptions to the matches. Nothing here does I/O but
`catalog`, which reads the topics folder.
"""
