"""Sentences, captions and numbers as text, for every view."""
