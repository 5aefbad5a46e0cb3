"""FDT: patches and words meet in one codebook of finite discrete tokens."""
