"""Fuzzing: whatever the bytes are, what reads them gives an answer or an error of glip's own, in one line.

harnesses.py   one function per kind of input, bytes in, nothing out
seeds.py       whole inputs of each kind to begin with, and the words of its language
__main__.py    python -m tests.fuzz KIND: coverage-guided, by atheris
finds.py       inputs that once got through
"""
