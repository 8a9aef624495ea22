"""The manual: one Markdown page per topic, and the modules that list, search and draw them."""
