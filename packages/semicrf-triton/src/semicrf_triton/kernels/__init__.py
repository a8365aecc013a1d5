"""The kernels, in Triton: imported only where they are launched, since Triton need not be there."""
