"""The manual: one Markdown page a topic, beside these modules, which list, find and draw them."""
