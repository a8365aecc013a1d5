"""One command for a machine with a GPU: parity at full size, times, memory, a page of results."""
