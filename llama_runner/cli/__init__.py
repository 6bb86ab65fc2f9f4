"""The command line: parsing, rendering, exit codes. Commands are imported only when they run."""
