"""One self-contained file about a run, as HTML or Markdown.

It must not know screens or the command line."""
