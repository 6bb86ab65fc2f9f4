"""Values and rules. Imports nothing of this package above itself; opens no socket, starts no process."""
