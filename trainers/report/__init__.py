"""Records and decisions as one HTML page, as plots, and beside the numbers that papers published."""
