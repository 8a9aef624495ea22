"""Drafts of settings and changes proposed by experiments.

It must not know screens or widgets."""
