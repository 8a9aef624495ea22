"""Rules for editing a freeze plan over a layer tree.

It must not know widgets: it maps a plan and a key to a new plan."""
