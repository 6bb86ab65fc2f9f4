"""Long runs against a real service: what stays behind after hours of load, and after being killed."""
