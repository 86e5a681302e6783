"""What the loaded program would do with a packet, told step by step: pure but for what `xdplb.explainer` hands in."""
