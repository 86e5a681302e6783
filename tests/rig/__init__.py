"""What the tests stand on: packets, a program without a network, a model of its way, a network."""
