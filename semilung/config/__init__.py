"""Configuration: the schema of every command, its composition by Hydra, and the settings page."""
