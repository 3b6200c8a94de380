"""Measures a checkpoint of Minnow through the program that serves it, and its source in its own
format."""
