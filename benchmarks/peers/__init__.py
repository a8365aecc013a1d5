"""Speed and memory beside other libraries, and alone."""
