"""Curves as text, from series of numbers.

It must not read run folders or know screens."""
