"""What things are: frozen values that every other part passes around. Standard library and numpy only."""
