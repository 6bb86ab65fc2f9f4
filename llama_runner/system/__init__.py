"""What differs between operating systems: processes, signals, locks, display.

The only home of POSIX-only calls. Knows nothing of models or servers; every call has a twin on Windows.
"""
