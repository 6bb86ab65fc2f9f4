"""The client side put together: what a window and a command share."""
