"""Durable writes, safe opening and escaping of untrusted names.

It must not know settings, runs or torch.
"""
