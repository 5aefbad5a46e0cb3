"""From images to what a method consumes."""
