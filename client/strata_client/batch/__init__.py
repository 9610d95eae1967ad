"""Batch inference: every row of a source through a network, into a table, however often it is interrupted."""
