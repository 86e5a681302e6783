"""`xdplb doctor`: what is wrong with the box. Facts are gathered by `look`, each theme is judged by a pure module."""
