"""The competitors, which all take the same AdamW step: this service, its alternatives, and the floor."""
