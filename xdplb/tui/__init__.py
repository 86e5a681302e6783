"""The live screen, `xdplb top`: status snapshots in, frames out; `screen.run` is the door."""
