"""What is known of one decision: how a model was chosen, what it promises, what texts gave and what to do next."""
