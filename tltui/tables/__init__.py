"""Tables and lines shared by the command line, the report and the screens.

It must not know where they are shown."""
