"""What a packet costs, as nanoseconds and as a multiple of the least it could cost: `make bench`."""
