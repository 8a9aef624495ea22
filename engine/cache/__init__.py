"""The cache folder: index, feature files, digests, eviction and disk space.

It must not know networks or training: it stores bytes under keys.
"""
