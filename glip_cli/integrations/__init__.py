"""GLIP inside other tools."""
