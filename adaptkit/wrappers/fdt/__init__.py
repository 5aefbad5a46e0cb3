"""FDT: a wrapper in which patches and words meet in one codebook of finite discrete tokens."""
