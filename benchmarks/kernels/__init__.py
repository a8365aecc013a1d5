"""The GPU kernels, compiled ahead of time: what they take of a GPU, without one."""
