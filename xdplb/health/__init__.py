"""Finding out which backends can serve: `check` decides, `probe` tries, `watch` drives both."""
