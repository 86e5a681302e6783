"""The command line: one file per command. Nouns read, verbs change."""
