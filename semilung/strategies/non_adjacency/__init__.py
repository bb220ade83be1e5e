"""Non-adjacency constraint: class pairs that never touch in healthy anatomy."""
