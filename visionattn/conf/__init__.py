"""The configuration files: one folder per group, one root file per command. They are data; nothing here is code."""
