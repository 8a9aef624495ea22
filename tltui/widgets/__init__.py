"""Widgets without knowledge of screens: attributes in, messages out.

They must not know the app or a screen."""
