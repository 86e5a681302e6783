"""What builds, shows and measures xdplb; none of it is needed to run it."""
