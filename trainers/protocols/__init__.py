"""What a run trains on and what it is tested on."""
